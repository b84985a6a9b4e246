//! The gate: the refusals that contracts and views lead to by themselves, without any server.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use sluice_contract::{Contract, ContractSet};
use sluice_govern::plan::{PlanRefusal, StoreAbilities, UnreadSetting, unread_settings};
use sluice_govern::{LeakProof, SqlView, SqlViewSet};
use sluice_warehouse::{QueryError, TopicSchemas, WarehouseView};

/// The promises that the stores of this build keep: neither archive nor Delta replaces or deletes rows.
const ABILITIES: StoreAbilities = StoreAbilities { replaces_rows: false, expires_rows: false };

/// Returns every refusal of contracts and views. `lake` is the folder of the sink's tables, if it is known.
///
/// # Errors
/// Fails if the lake cannot be listed, or if the engine cannot be started.
pub(crate) fn refusals(
    contracts: &ContractSet,
    views: &SqlViewSet,
    lake: Option<&Path>,
) -> anyhow::Result<Vec<PlanRefusal>> {
    let mut refusals = view_refusals(contracts, views, lake)?;
    let unkept = unread_settings(contracts, ABILITIES).into_iter().filter(|setting| setting.is_promise);
    refusals.extend(unkept.map(|setting| PlanRefusal::Unkept { setting }));
    Ok(refusals)
}

/// Returns the settings that nothing reads yet, and that promise nothing.
pub(crate) fn notes(contracts: &ContractSet) -> Vec<UnreadSetting> {
    unread_settings(contracts, ABILITIES).into_iter().filter(|setting| !setting.is_promise).collect()
}

/// Returns the views that leak, that the engine would read in another way than the proof, or that a table of
/// the lake hides.
///
/// # Errors
/// As [`refusals`].
pub(crate) fn view_refusals(
    contracts: &ContractSet,
    views: &SqlViewSet,
    lake: Option<&Path>,
) -> anyhow::Result<Vec<PlanRefusal>> {
    // Leaks, from the lineage.
    let leaks = LeakProof::of(contracts, views).leaks;
    let mut refusals: Vec<PlanRefusal> = leaks.into_iter().map(|leak| PlanRefusal::Leak { leak }).collect();

    // The engine's own reading of every view.
    let named: Vec<WarehouseView> = views.iter().map(named).collect();
    let tables = topic_schemas(contracts);
    for (view, scanned) in views.iter().zip(scan_all(&tables, &named)?) {
        let expected = views.base_tables(view);
        let (why, hint) = match scanned {
            Ok(scanned) if scanned == expected => continue,
            Ok(scanned) => {
                let listed = |names: BTreeSet<String>| match names.is_empty() {
                    true => "no table".to_owned(),
                    false => names.into_iter().collect::<Vec<_>>().join(", "),
                };
                let why = format!(
                    "the view `{}` reads {} by its text, and {} by the engine's plan",
                    view.name,
                    listed(expected),
                    listed(scanned)
                );
                (why, "give CTEs and aliases names that no table has".to_owned())
            }
            Err(error) => {
                let why = format!("the engine cannot plan the view `{}`: {error}", view.name);
                (why, "write it in the SQL of DataFusion".to_owned())
            }
        };
        refusals.push(PlanRefusal::View { file: view.file.clone(), why, hint });
    }

    // The lake can have tables that no contract knows. The engine reads a table before a view.
    if let Some(lake) = lake.filter(|lake| lake.is_dir()) {
        for name in sluice_warehouse::hidden_views(lake, &named)? {
            let file = views.iter().find(|view| view.name == name).map(|view| view.file.clone());
            let why = format!("the view `{name}` has the name of a table in the lake, which hides it");
            let hint = "rename the view's file".to_owned();
            refusals.push(PlanRefusal::View { file: file.unwrap_or_default(), why, hint });
        }
    }
    Ok(refusals)
}

/// The tables that the engine would scan for a view.
type ScannedTables = Result<BTreeSet<String>, QueryError>;

/// Returns the tables that the engine would scan, view by view.
///
/// # Errors
/// Fails if the engine cannot be started, or ends early.
fn scan_all(tables: &TopicSchemas, views: &[WarehouseView]) -> anyhow::Result<Vec<ScannedTables>> {
    // A thread of its own, because the caller may be on a runtime, where another one cannot be waited for.
    let scan = || -> anyhow::Result<Vec<ScannedTables>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let scan = |view: &WarehouseView| {
            runtime.block_on(sluice_warehouse::scanned_tables(tables, views, &view.sql))
        };
        Ok(views.iter().map(scan).collect())
    };
    std::thread::scope(|scope| scope.spawn(scan).join())
        .map_err(|_| anyhow::anyhow!("the engine ended while it planned the views"))?
        .context("planning the views")
}

/// Returns a view as the engine takes it.
fn named(view: &SqlView) -> WarehouseView {
    WarehouseView { name: view.name.clone(), sql: view.sql.clone() }
}

/// Returns the columns of the tables that topics of the contracts have, or could have.
fn topic_schemas(contracts: &ContractSet) -> TopicSchemas {
    let fact = contracts.fact().map(|fact| fact.json());
    let of_contract = |contract: &Contract| {
        let facts =
            contract.facts.as_ref().zip(fact).map(|(facts, fact)| (facts.topic.clone(), fact.to_owned()));
        let raw = (contract.raw_topic.clone(), contract.value.json().to_owned());
        let masked = (contract.masked_topic.clone(), contract.masked_schema().json().to_owned());
        [Some(raw), Some(masked), facts].into_iter().flatten().collect::<Vec<_>>()
    };
    // A topic whose records no table can hold has no table that a view could read.
    let columns = |(topic, schema): (String, String)| Some((topic, sluice_delta::plan::columns(&schema)?));
    contracts.iter().flat_map(of_contract).filter_map(columns).collect()
}
