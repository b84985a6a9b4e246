//! What an operator asks between runs: how it stands, who is dead, try one id, let the dead try again.

use sluice_core::{Fault, Outputs};
use sluice_lease::{Buried, Claims, StateCount};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::Position;
use crate::client::{Answer, Refusal, Trouble};
use crate::config::Config;
use crate::job::Job;
use crate::pagination::{Ask, Next, Seen};
use crate::process::{LETTERS, PageAt};

/// One page of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Endpoint.
    pub endpoint: String,
    /// 0-based page.
    pub page: u64,
    /// What was asked with: the path, a query parameter or a next URL.
    pub asked: String,
    /// Bytes of the body, decompressed.
    pub bytes: usize,
    /// Framed Avro values of the records that fit.
    pub records: Vec<Vec<u8>>,
    /// Reasons of those that do not.
    pub rejects: Vec<String>,
}

/// Asks for the first pages of one id, `most` per endpoint, and publishes nothing. Records are framed with schema id 0.
///
/// # Errors
/// A [`Fault`] with the API's answer, a contract that is missing, or a page that cannot be read.
pub async fn try_id(config: Config, id: &str, most: u64) -> Result<Vec<Tried>, Fault> {
    let job = Job::offline(config)?;
    let stop = CancellationToken::new();
    let mut tried = Vec::new();
    for (nth, endpoint) in job.config.endpoints.iter().enumerate() {
        let mut at = Position::first(&endpoint.name);
        while at.page < most {
            let mut reader = job.reader(nth)?;
            let mut outputs = Outputs::new();
            let ask = endpoint.pagination.ask(at.token.as_deref());
            let asked = match &ask {
                Ask::Plain => endpoint.path.fill(id),
                Ask::Query(name, value) => format!("{}?{name}={value}", endpoint.path.fill(id)),
                Ask::Url(url) => (*url).to_owned(),
            };
            let accept = |answer: &Answer| {
                outputs.clear();
                let page =
                    PageAt { job: &job.config.job, endpoint: &endpoint.name, page: at.page, dedupe: None };
                let read = reader.read(page, &answer.body, &mut outputs);
                let read = read.map_err(|error| Trouble::page(&error, answer.html))?;
                let next = endpoint.pagination.next(&Seen {
                    values: &read.values,
                    links: &answer.links,
                    records: read.records + read.rejects,
                    token: at.token.as_deref(),
                });
                Ok((answer.body.len(), next))
            };
            let answered = job.api.page(endpoint, id, &ask, &stop, accept).await.map_err(refused)?;
            let (bytes, next) = answered.unwrap_or((0, Next::End));
            let (letters, records): (Vec<_>, Vec<_>) =
                outputs.iter().partition(|record| record.route == LETTERS);
            let reason = |letter: &sluice_core::OutRecord<'_>| {
                let found = letter.headers().find(|header| header.name == "sluice.dlq.reason");
                let text = found.and_then(|header| header.value).unwrap_or_default();
                String::from_utf8_lossy(text).into_owned()
            };
            tried.push(Tried {
                endpoint: endpoint.name.clone(),
                page: at.page,
                asked,
                bytes,
                records: records.iter().map(|record| record.value.unwrap_or_default().to_vec()).collect(),
                rejects: letters.iter().map(reason).collect(),
            });
            match next {
                Next::Token(token) => at = Position { page: at.page + 1, token: Some(token), ..at },
                Next::End => break,
                Next::Broken(why) => return Err(Fault::user("reading the pagination", why)),
            }
        }
    }
    Ok(tried)
}

/// Ids by state, with what was done for them.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn status(config: &Config) -> Result<Vec<StateCount>, Fault> {
    Ok(claims(config).await?.status().await?)
}

/// Ids that were given up, with the page they fail at and why; the first `most`.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn dead(config: &Config, most: u32) -> Result<Vec<Buried>, Fault> {
    Ok(claims(config).await?.buried(most).await?)
}

/// Makes one dead id, or all, due again. Answers how many.
///
/// # Errors
/// A [`Fault`] of the database.
pub async fn retry(config: &Config, id: Option<&str>) -> Result<u64, Fault> {
    Ok(claims(config).await?.revive(id).await?)
}

/// The statements that make the side table, for operators whose worker may not.
///
/// # Errors
/// A [`Fault`] if the URL's scheme is not known.
pub fn migration(config: &Config) -> Result<Vec<&'static str>, Fault> {
    Ok(sluice_lease::Dialect::of(&config.database.url)?.migration().to_vec())
}

async fn claims(config: &Config) -> Result<Claims, Fault> {
    let claims = Claims::connect(&config.database.url, &config.job, 2).await?;
    if config.database.migrate {
        claims.migrate().await?;
    }
    Ok(claims)
}

fn refused(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Stopped => Fault::outage("asking the API", "stopped"),
        Refusal::Later { reason, .. } => Fault::outage("asking the API", reason),
        Refusal::Dead(reason) => Fault::user("asking the API", reason),
        Refusal::Fatal(fault) => fault,
    }
}
