//! Follows the records through the fleet. It waits for each stage by Kafka's offsets, not by the clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::archive;
use super::checks::DemoCounts;
use super::configs::{
    AIRCRAFT, ARCHIVE, DELTA, DemoFleetMember, FACTS, FLIGHTS, MASKED_AIRCRAFT, MASKED_FLIGHTS, MASKER,
    NORMALISER,
};
use super::fleet::DemoFleet;
use super::leak::RawTailNumbers;
use super::report::DemoStage;
use super::show::DemoDisplay;
use super::topics::{DemoTopicReader, DemoTopicScan};
use crate::api::BROKEN;
use crate::truth::DemoTruth;

/// Time between two looks at the fleet.
const LOOK: Duration = Duration::from_millis(250);
/// A run has failed if nothing moves for this time.
const STANDSTILL: Duration = Duration::from_secs(180);

/// The parts of a run that are needed to follow the records.
pub(crate) struct DemoRecordTrail<'a> {
    pub(crate) truth: &'a DemoTruth,
    pub(crate) kill_each: bool,
    pub(crate) archive: &'a Path,
    pub(crate) members: &'a [DemoFleetMember],
    pub(crate) runtime: &'a tokio::runtime::Runtime,
    pub(crate) raw: &'a RawTailNumbers,
}

/// The records that have arrived, by place.
pub(crate) struct DemoArrivals {
    pub(crate) counts: DemoCounts,
    /// Open topic or page → raw tail numbers found in it.
    pub(crate) leaks: BTreeMap<String, i64>,
    lake_rows: i64,
    /// Worker → its skipped records, from its status page.
    skipped: Vec<(String, i64)>,
}

struct DemoWatch<'a> {
    way: &'a DemoRecordTrail<'a>,
    topics: DemoTopicReader,
    fleet: &'a mut DemoFleet,
    api: &'a mut DemoFleet,
    show: &'a mut DemoDisplay,
    last: [i64; 6],
    moved: Instant,
}

impl DemoRecordTrail<'_> {
    /// Follows the records to the end.
    pub(crate) fn go(
        &self,
        brokers: &str,
        fleet: &mut DemoFleet,
        api: &mut DemoFleet,
        show: &mut DemoDisplay,
    ) -> Result<DemoArrivals> {
        let topics = DemoTopicReader::new(brokers)?;
        let mut watch =
            DemoWatch { way: self, topics, fleet, api, show, last: [0; 6], moved: Instant::now() };
        let (mut counts, mut leaks) = (DemoCounts::default(), BTreeMap::new());

        let collectors = || self.members.iter().filter(|member| member.name.starts_with("collector"));
        watch.until(|watch| {
            for member in collectors() {
                // The collectors end by themselves, so their pages are read while they work.
                let text = self.runtime.block_on(page_text(&member.admin, "metrics")).unwrap_or_default();
                let hits = leaks.entry(format!("/metrics of {}", member.name)).or_default();
                *hits += self.raw.found_in(text.as_bytes());
            }
            Ok(collectors().all(|member| watch.fleet.get(member.name).is_none_or(|worker| worker.ended())))
        })?;
        let flights = watch.topics.scan(FLIGHTS, |_| ())?;
        let aircraft = watch.topics.scan(AIRCRAFT, |_| ())?;
        (counts.flights, counts.aircraft) = (flights.records, aircraft.records);

        watch.reached(MASKER, &[(FLIGHTS, &flights), (AIRCRAFT, &aircraft)])?;
        watch.fleet.done("masker");
        let masked = searched(&watch.topics, MASKED_FLIGHTS, self.raw, &mut leaks)?;
        let masked_aircraft = searched(&watch.topics, MASKED_AIRCRAFT, self.raw, &mut leaks)?;
        (counts.masked_flights, counts.masked_aircraft) = (masked.records, masked_aircraft.records);

        watch.reached(NORMALISER, &[(MASKED_FLIGHTS, &masked)])?;
        watch.fleet.done("normaliser");
        let facts = searched(&watch.topics, FACTS, self.raw, &mut leaks)?;
        counts.facts = facts.records;

        let landed = [(MASKED_FLIGHTS, &masked), (MASKED_AIRCRAFT, &masked_aircraft), (FACTS, &facts)];
        watch.reached(&format!("{ARCHIVE}-archive"), &landed)?;
        watch.fleet.done("archive");
        watch.reached(&format!("{DELTA}-delta"), &landed)?;
        watch.fleet.done("delta");

        for topic in [FLIGHTS, AIRCRAFT, MASKED_FLIGHTS, MASKED_AIRCRAFT, FACTS] {
            dead_letters(&watch.topics, topic, &mut counts)?;
        }
        counts.archived = archive::records_under(self.archive)?;
        for topic in [MASKED_FLIGHTS, MASKED_AIRCRAFT, FACTS] {
            searched(&watch.topics, &format!("{topic}.dead-letter"), self.raw, &mut leaks)?;
        }
        for member in self.members.iter().filter(|member| !member.name.starts_with("collector")) {
            for page in ["metrics", "status"] {
                let text = self.runtime.block_on(page_text(&member.admin, page)).unwrap_or_default();
                leaks.insert(format!("/{page} of {}", member.name), self.raw.found_in(text.as_bytes()));
            }
        }
        let skipped = self
            .members
            .iter()
            .map(|member| (member.name.to_owned(), self.runtime.block_on(skipped(&member.admin))));
        Ok(DemoArrivals { counts, leaks, lake_rows: 0, skipped: skipped.collect() })
    }
}

impl DemoWatch<'_> {
    fn reached(&mut self, group: &str, scans: &[(&str, &DemoTopicScan)]) -> Result<()> {
        self.until(|watch| {
            for (topic, scan) in scans {
                if !watch.topics.reached(group, topic, scan)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Watches the fleet until `done` returns true.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        loop {
            self.fleet.watch()?;
            self.api.watch()?;
            self.look()?;
            if done(self)? {
                return Ok(());
            }
            if self.moved.elapsed() > STANDSTILL {
                bail!("nothing has moved for {} s; the reason is in the logs", STANDSTILL.as_secs());
            }
            // Kafka has no event for the commit of a group, so it is asked again and again.
            std::thread::sleep(LOOK);
        }
    }

    /// Reads the progress of every stage. It is shown, a standstill is found by it, and it decides when the
    /// requested kills happen.
    fn look(&mut self) -> Result<()> {
        let truth = self.way.truth;
        let raw = truth.flights + truth.aircraft;
        let facts = truth.facts_in_all();
        let landed = raw + facts;
        let groups = [format!("{ARCHIVE}-archive"), format!("{DELTA}-delta")];
        let mut landing = |group: &str| -> i64 {
            [MASKED_FLIGHTS, MASKED_AIRCRAFT, FACTS]
                .iter()
                .map(|topic| self.topics.progress(group, topic))
                .sum()
        };
        let (archived, in_lake) = (landing(&groups[0]), landing(&groups[1]));
        let now = [
            self.topics.about(FLIGHTS) + self.topics.about(AIRCRAFT),
            self.topics.about(MASKED_FLIGHTS) + self.topics.about(MASKED_AIRCRAFT),
            self.topics.about(FACTS),
            archived,
            in_lake,
            self.fleet.workers.iter().map(|worker| i64::from(worker.starts)).sum(),
        ];
        if now != self.last {
            self.moved = Instant::now();
            self.last = now;
        }
        self.show.progress(&[
            ("collected", now[0], raw),
            ("masked", now[1], raw),
            ("facts", now[2], facts),
            ("archived", now[3], landed),
            ("in the lake", now[4], landed),
        ]);
        if self.way.kill_each {
            let due = [
                ("collector-1", now[0], raw * 3 / 10),
                ("collector-2", now[0], raw * 5 / 10),
                ("masker", now[1], raw * 4 / 10),
                ("normaliser", now[2], facts * 4 / 10),
                ("archive", now[3], landed / 10),
                ("delta", now[4], landed / 10),
            ];
            for (name, done, when) in due {
                if done >= when && self.fleet.kill(name)? {
                    self.show.say(&format!("{name} was killed with SIGKILL; it is started again"));
                }
            }
        }
        Ok(())
    }
}

/// Counts a topic's dead letters by worker, and the letters that lack their reason or source.
fn dead_letters(topics: &DemoTopicReader, topic: &str, counts: &mut DemoCounts) -> Result<()> {
    topics.scan(&format!("{topic}.dead-letter"), |message| {
        let header = |name: &str| {
            let headers = message.headers()?;
            let found = headers.iter().find(|header| header.key == name)?;
            Some(String::from_utf8_lossy(found.value?).into_owned())
        };
        let told = ["reason", "source.topic", "source.partition", "source.offset"];
        if told.iter().any(|name| header(&format!("sluice.dlq.{name}")).is_none_or(|text| text.is_empty())) {
            counts.mute_dead_letters += 1;
        }
        let worker = header("sluice.dlq.worker").unwrap_or_else(|| "unknown".to_owned());
        *counts.dead_letters.entry(worker).or_default() += 1;
    })?;
    Ok(())
}

/// Scans a topic that analysts may read and searches every byte of it for raw tail numbers.
fn searched(
    topics: &DemoTopicReader,
    topic: &str,
    raw: &RawTailNumbers,
    leaks: &mut BTreeMap<String, i64>,
) -> Result<DemoTopicScan> {
    let mut hits = 0;
    let scan = topics.scan(topic, |message: &BorrowedMessage<'_>| {
        hits += raw.found_in(message.key().unwrap_or_default())
            + raw.found_in(message.payload().unwrap_or_default());
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            hits += raw.found_in(header.value.unwrap_or_default());
        }
    })?;
    leaks.insert(topic.to_owned(), hits);
    Ok(scan)
}

/// Returns the number of skipped records on a worker's status page; 0 if the worker has ended.
async fn skipped(admin: &str) -> i64 {
    let text = page_text(admin, "status").await.unwrap_or_default();
    let page: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let partitions = page["partitions"].as_array().cloned().unwrap_or_default();
    partitions.iter().filter_map(|partition| partition["skipped"].as_i64()).sum()
}

async fn page_text(admin: &str, page: &str) -> Result<String> {
    Ok(reqwest::get(format!("http://{admin}/{page}")).await?.text().await?)
}

impl DemoArrivals {
    /// Sets the number of rows in the lake's tables, counted by SQL.
    pub(crate) fn set_lake_rows(&mut self, rows: i64) {
        self.lake_rows = rows;
    }

    /// Returns one line for each stage.
    pub(crate) fn stages(&self, truth: &DemoTruth, fleet: &DemoFleet) -> Vec<DemoStage> {
        let counts = &self.counts;
        let raw = counts.flights + counts.aircraft;
        let served = truth.flights + truth.aircraft + i64::try_from(BROKEN).unwrap_or(0);
        let stage = |name: &str, members: &[&str], taken: i64, out: i64| {
            let workers: Vec<_> = members.iter().filter_map(|member| fleet.get(member)).collect();
            let of = |member: &str| {
                self.skipped.iter().filter(|(name, _)| name == member).map(|(_, count)| count).sum::<i64>()
            };
            DemoStage {
                name: name.to_owned(),
                taken,
                out,
                dead_letters: counts.dead(name),
                skipped: members.iter().map(|member| of(member)).sum(),
                seconds: workers.iter().map(|worker| worker.seconds()).fold(0.0, f64::max),
                peak_rss_bytes: workers.iter().map(|worker| worker.peak).max().unwrap_or(0),
                starts: workers.iter().map(|worker| worker.starts).sum(),
            }
        };
        vec![
            stage("collector", &["collector-1", "collector-2"], served, raw),
            stage("masker", &["masker"], raw, counts.masked_flights + counts.masked_aircraft),
            stage("normaliser", &["normaliser"], counts.masked_flights, counts.facts),
            stage("archive", &["archive"], counts.landed(), counts.archived),
            stage("delta", &["delta"], counts.landed(), self.lake_rows),
        ]
    }
}
