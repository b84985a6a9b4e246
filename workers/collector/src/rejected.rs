//! The dead letters of a job: which of them still count, and asking again for their ids.
//!
//! A record that a collector refuses was never in Kafka. The way back is to ask the API for its id once more. A letter
//! counts until a later run of its id is complete: either the record came, or it was refused again and has a newer
//! letter. An incremental endpoint asks only for what is new, so that there the later run must be one that begins
//! from the beginning, as `sluice collector retry --rejected` makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sluice_core::{Fault, RecordRef, names};
use sluice_lease::{IdRuns, JobClaims};

use crate::config::CollectorConfig;
use crate::takeover::blocking;

/// A record that a collector refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RejectedRecord {
    /// Name of the endpoint.
    pub endpoint: String,
    /// The id, or its pseudonym where the job has pseudonyms.
    pub id: String,
    /// Number of the page in the endpoint's pages for this id, from 0.
    pub page: u64,
    /// Number of the record in the page, from 0.
    pub index: u64,
    /// Number of the run over the id.
    pub run: i64,
    /// Class of the reason.
    pub class: String,
    /// Path of the field.
    pub path: String,
    /// The reason; no values.
    pub reason: String,
    /// Dead-letter topic.
    pub topic: String,
    /// Partition of the letter.
    pub partition: i32,
    /// Offset of the letter.
    pub offset: i64,
}

/// The place of a record: endpoint, id, page and index.
type RecordPlace = (String, String, u64, u64);

/// Returns the letters of the job that still count, by endpoint, id, page and index.
///
/// # Errors
/// A [`Fault`] of Kafka or the database.
pub async fn rejected(config: &CollectorConfig) -> Result<Vec<RejectedRecord>, Fault> {
    let claims = JobClaims::connect(&config.database.url, &config.job, 2).await?;
    Ok(open_letters(config, &claims).await?.into_iter().map(|(_, letter)| letter).collect())
}

/// Makes the ids of all letters that still count due again, or only `id`: from the first page, as a new run. Returns
/// how many.
///
/// # Errors
/// A [`Fault`] of Kafka or the database.
pub async fn retry_rejected(config: &CollectorConfig, id: Option<&str>) -> Result<u64, Fault> {
    let claims = JobClaims::connect(&config.database.url, &config.job, 2).await?;
    let letters = open_letters(config, &claims).await?;
    let ids: BTreeSet<String> =
        letters.into_iter().map(|(known, _)| known).filter(|known| id.is_none_or(|id| id == known)).collect();
    Ok(claims.ask_again(&ids.into_iter().collect::<Vec<_>>()).await?)
}

/// Returns the letters that still count, each with its id in the database.
async fn open_letters(
    config: &CollectorConfig,
    claims: &JobClaims,
) -> Result<Vec<(String, RejectedRecord)>, Fault> {
    // The newest letter about each place. A topic may have letters of other jobs and workers.
    let mut newest: BTreeMap<RecordPlace, RejectedRecord> = BTreeMap::new();
    for topic in config.topics().map(names::dead_letter_topic).collect::<BTreeSet<_>>() {
        let (kafka, job) = (config.kafka.clone(), config.job.clone());
        let letters = blocking(move || {
            let mut letters = Vec::new();
            sluice_kafka::read_to_end(&kafka, &topic, &mut BTreeMap::new(), |record| {
                letters.extend(letter_of(&job, record));
            })?;
            Ok(letters)
        })
        .await?;
        for letter in letters {
            let place = (letter.endpoint.clone(), letter.id.clone(), letter.page, letter.index);
            match newest.get(&place) {
                Some(known) if known.run > letter.run => {}
                _ => drop(newest.insert(place, letter)),
            }
        }
    }

    // The ids behind the names in the letters.
    let runs = runs_by_name(config, claims, newest.values().map(|letter| letter.id.as_str())).await?;
    let incremental: BTreeSet<&str> = config
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.look.incremental.is_some())
        .map(|endpoint| endpoint.name.as_str())
        .collect();

    // A later letter about the same id and endpoint belongs to a later run, which settles the earlier ones.
    let open = newest.into_values().filter_map(|letter| {
        let runs = runs.get(&letter.id)?;
        let settled = match incremental.contains(letter.endpoint.as_str()) {
            true => runs.whole > letter.run && runs.complete >= runs.whole,
            false => runs.complete > letter.run,
        };
        (!settled).then(|| (runs.id.clone(), letter))
    });
    Ok(open.collect())
}

/// Returns the runs of the ids that letters name, by that name. An id that was taken out has none.
async fn runs_by_name(
    config: &CollectorConfig,
    claims: &JobClaims,
    named: impl Iterator<Item = &str>,
) -> Result<HashMap<String, IdRuns>, Fault> {
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    let Some(secret) = config.database.pseudonym.as_deref() else {
        let runs = claims.runs_of(Some(&named.into_iter().collect::<Vec<_>>())).await?;
        return Ok(runs.into_iter().map(|runs| (runs.id.clone(), runs)).collect());
    };

    // A pseudonym leads to its id only by way of all ids.
    let runs = claims.runs_of(None).await?;
    let by_name = runs.into_iter().map(|runs| (crate::auth::pseudonym(secret.as_bytes(), &runs.id), runs));
    Ok(by_name.filter(|(name, _)| named.contains(name)).collect())
}

/// Reads a letter of this job from its headers.
fn letter_of(job: &str, record: &RecordRef<'_>) -> Option<RejectedRecord> {
    let text = |name: &str| {
        let header = record.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(header.value?).ok().map(str::to_owned)
    };
    if text(names::dead_letter::COLLECTOR_JOB)? != job {
        return None;
    }
    Some(RejectedRecord {
        endpoint: text(names::dead_letter::COLLECTOR_ENDPOINT)?,
        id: text(names::dead_letter::COLLECTOR_ID)
            .or_else(|| text(names::dead_letter::COLLECTOR_PSEUDONYM))?,
        page: text(names::dead_letter::COLLECTOR_PAGE)?.parse().ok()?,
        index: text(names::dead_letter::COLLECTOR_INDEX)?.parse().ok()?,
        run: text(names::dead_letter::COLLECTOR_RUN)?.parse().ok()?,
        class: text(names::dead_letter::CLASS).unwrap_or_default(),
        path: text(names::dead_letter::PATH).unwrap_or_default(),
        reason: text(names::dead_letter::REASON).unwrap_or_default(),
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset.raw(),
    })
}
