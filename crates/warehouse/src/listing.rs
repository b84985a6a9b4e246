//! `SHOW TABLES` and `DESCRIBE <table>`: statements about the tables themselves.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{DescribeAlias, Statement};

use crate::{QueryError, WarehouseQuery, sql_error};

/// A statement about the tables.
pub(crate) enum TableListing {
    /// `SHOW TABLES`.
    Tables,
    /// `DESCRIBE <table>`.
    Columns(TableReference),
}

/// Returns the listing that a statement asks for. `None` for any other statement, also for one that is not valid.
pub(crate) fn read(session: &SessionContext, sql: &str) -> Option<TableListing> {
    let state = session.state();
    let dialect = state.config_options().sql_parser.dialect;
    let ParsedStatement::Statement(statement) = state.sql_to_statement(sql, &dialect).ok()? else {
        return None;
    };
    match *statement {
        Statement::ShowTables { .. } => Some(TableListing::Tables),
        Statement::ExplainTable {
            describe_alias: DescribeAlias::Describe | DescribeAlias::Desc,
            table_name,
            ..
        } => {
            // As the planner reads names: lower case unless they are quoted.
            let parts: Vec<String> =
                table_name
                    .0
                    .iter()
                    .filter_map(|part| part.as_ident())
                    .map(|part| {
                        if part.quote_style.is_some() {
                            part.value.clone()
                        } else {
                            part.value.to_lowercase()
                        }
                    })
                    .collect();
            Some(TableListing::Columns(TableReference::bare(parts.join("."))))
        }
        _ => None,
    }
}

impl WarehouseQuery<'_> {
    /// Answers a statement about the tables.
    pub(crate) async fn list(
        &mut self,
        listing: TableListing,
        sql: &str,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let columns = match listing {
            TableListing::Tables => self.list_tables(),
            TableListing::Columns(reference) => {
                let schema = self.provider(&reference, sql).await?.schema();
                let fields = schema.fields().iter();
                let names: StringArray = fields.clone().map(|field| Some(field.name().as_str())).collect();
                let types: StringArray =
                    fields.clone().map(|field| Some(field.data_type().to_string())).collect();
                let nullable: BooleanArray = fields.map(|field| Some(field.is_nullable())).collect();
                let columns: [(&str, ArrayRef); 3] = [
                    ("column", Arc::new(names)),
                    ("type", Arc::new(types)),
                    ("nullable", Arc::new(nullable)),
                ];
                columns
            }
        };
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| sql_error(error.into(), sql))?;
        Ok(vec![batch])
    }

    /// Returns the tables and views as columns. A view has no topic.
    fn list_tables(&self) -> [(&'static str, ArrayRef); 3] {
        let tables = self.tables.iter().map(|(name, topic)| (name.as_str(), "table", Some(topic.as_str())));
        let views = self.views.iter().map(|view| (view.name.as_str(), "view", None));
        let rows: Vec<_> = tables.chain(views).collect();
        let names: StringArray = rows.iter().map(|(name, ..)| Some(*name)).collect();
        let kinds: StringArray = rows.iter().map(|(_, kind, _)| Some(*kind)).collect();
        let topics: StringArray = rows.iter().map(|(.., topic)| *topic).collect();
        [("table", Arc::new(names)), ("kind", Arc::new(kinds)), ("topic", Arc::new(topics))]
    }
}
