//! An id's page walk over its endpoints and pages: request, read, hand over, go on. The [`PageTaker`] decides
//! about the pages: a task publishes them (`collect.rs`), a trial shows them (`operate.rs`).
//!
//! A page is handed over when it was read to its end, so that half a page is never visible. Only a page that
//! grows beyond [`PageWalk::part`] bytes of output is handed over in parts. The position behind a part holds
//! the number of the page's records that were handed over, and their hash. If the page is requested again,
//! after a broken answer or by another process, it must begin with the same records, which are passed over.
//! If it does not, the id is dead with that reason. Therefore a page of any size takes the memory of one
//! part, no transaction stays open while a slow API sends it, and no record comes twice. The price: if a
//! large page never arrives whole, its first parts are visible.

use std::time::{SystemTime, UNIX_EPOCH};

use sluice_core::{Fault, Outputs};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::checkpoints::{PagePosition, RowMark};
use crate::client::{AnswerTrouble, ApiAnswer, PageFetch, PageRefusal, TroubleKind};
use crate::drift::{DriftNotice, PageDriftDetector};
use crate::incremental::{IncrementalMarks, IncrementalMaximum};
use crate::job::CollectorJob;
use crate::pagination::{LoopGuard, NextPage, PaginationInput};
use crate::process::{LetterId, PageAddress, PageBeginning, PagePartCounts, PageReader, PageSummary};
use crate::template::TemplateValues;
use crate::verdict::{ConditionAction, PageVerdict};

/// Takes the pages that a walk reads.
pub(crate) trait PageTaker: Send {
    /// Takes a part of a page, most often all of it. The records are in `outputs`, which comes back empty.
    fn take(
        &mut self,
        part: PagePart<'_>,
        outputs: &mut Outputs,
    ) -> impl Future<Output = Result<(), PageWalkHalt>> + Send;

    /// Reports that the pages moved while they were read.
    fn noticed(&mut self, endpoint: &str, page: u64, noticed: DriftNotice);
}

/// A part of a page.
pub(crate) struct PagePart<'p> {
    /// Index of its endpoint among the job's.
    pub(crate) nth: usize,
    /// The position at which it begins.
    pub(crate) at: &'p PagePosition,
    /// The position behind it; `None` when every endpoint is complete.
    pub(crate) next: Option<PagePosition>,
    pub(crate) marks: &'p IncrementalMarks,
    /// Whether it is the last part of its page.
    pub(crate) ends_page: bool,
    pub(crate) read: PagePartCounts,
    /// Bytes of the page's body since the last part.
    pub(crate) bytes: u64,
    /// Hash over the page's records up to here, in hexadecimal.
    pub(crate) hash: &'p str,
    /// The request as text for a person, without credentials.
    pub(crate) asked: &'p str,
}

/// The reason why a walk stopped before its end.
pub(crate) enum PageWalkHalt {
    Refused(PageRefusal),
    /// Another process holds the id.
    Lost,
    /// The publisher has ended, and it is unknown whether the last page is durable.
    Unknown,
    Database(sluice_lease::LeaseError),
    Fault(Fault),
}

/// Everything that one id's walk needs.
pub(crate) struct PageWalk<'w, T> {
    pub(crate) job: &'w CollectorJob,
    pub(crate) id: &'w str,
    /// The id in dead letters, if it is not the id itself.
    pub(crate) pseudonym: Option<String>,
    /// Number of the run over the id.
    pub(crate) run: i64,
    pub(crate) taker: T,
    pub(crate) stop: &'w CancellationToken,
    pub(crate) marks: IncrementalMarks,
    /// Bytes of output after which a page is handed over in parts.
    pub(crate) part: usize,
    /// The most pages per endpoint, for a trial.
    pub(crate) most: Option<u64>,
}

/// A page that was read to its end.
struct WholePage {
    read: PageSummary,
    next: NextPage,
    bytes: u64,
}

/// A failure while a page is read.
enum PageReadFailure {
    Trouble(AnswerTrouble),
    Halt(PageWalkHalt),
}

impl<T: PageTaker> PageWalk<'_, T> {
    /// Walks from `at` to the last page of the last endpoint.
    pub(crate) async fn run(&mut self, at: Option<PagePosition>) -> Result<(), PageWalkHalt> {
        let mut outputs = Outputs::new();
        let endpoints = &self.job.config.endpoints;
        let Some(mut at) = at else { return Ok(()) };

        // A checkpoint can be older than the job's configuration.
        let Some(from) = endpoints.iter().position(|endpoint| endpoint.name == at.endpoint) else {
            return Err(dead(format!(
                "checkpoint: expected an endpoint of the job, found `{}`; add it, or retry the id from start",
                at.endpoint
            )));
        };

        // Endpoints in the job's order. The position behind the last page of one is the first page of the
        // next.
        for nth in from..endpoints.len() {
            let after = endpoints.get(nth + 1).map(|next| PagePosition::first(&next.name));
            self.endpoint(nth, at, after.clone(), &mut outputs).await?;
            match after {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Walks over all pages of one endpoint and no other.
    pub(crate) async fn only(&mut self, nth: usize, at: PagePosition) -> Result<(), PageWalkHalt> {
        self.endpoint(nth, at, None, &mut Outputs::new()).await
    }

    /// Walks over all pages of one endpoint. `after` is the position behind them.
    async fn endpoint(
        &mut self,
        nth: usize,
        mut at: PagePosition,
        after: Option<PagePosition>,
        outputs: &mut Outputs,
    ) -> Result<(), PageWalkHalt> {
        let job = self.job;
        let endpoint = &job.config.endpoints[nth];

        // An incremental job begins where the last complete run ended, or at the configured start.
        let since = self.marks.since.get(&endpoint.name).map(|high| high.value.clone());
        let since = since.or_else(|| endpoint.start.clone());

        // The guard knows the token of the present page, for a page that leads back to itself.
        let mut guard = LoopGuard::default();
        let mut drift = PageDriftDetector::begin(at.page);
        if let Some(token) = &at.token {
            guard.repeats_token(token);
        }

        loop {
            // Between pages is the best place to stop: nothing has to be requested again.
            if self.stop.is_cancelled() {
                return Err(PageWalkHalt::Refused(PageRefusal::Stopped));
            }

            // The page is requested until it was read to its end.
            let ask = endpoint.pagination.ask(at.token.as_deref());
            let values = TemplateValues { id: self.id, since: since.as_deref() };
            let mut asking = job.api.asking(endpoint, values, &ask).map_err(PageWalkHalt::Refused)?;
            let mut reader = job.reader(nth).map_err(PageWalkHalt::Fault)?;
            reader.fill(values).map_err(dead)?;
            let (job_name, name) = (job.config.job.as_str(), endpoint.name.as_str());
            let span = tracing::debug_span!("page", job = job_name, endpoint = name, page = at.page);
            let page = self
                .page(nth, &mut asking, &mut reader, &mut at, outputs, &mut guard)
                .instrument(span.clone())
                .await;
            job.give_back(nth, reader);
            let page = page?;

            // The position behind the page, within this endpoint.
            let next = match page.as_ref().map(|page| &page.next) {
                Some(NextPage::Token(token)) => self.turn_page(&at, token, &mut guard)?,
                Some(NextPage::Broken(why)) => return Err(dead(format!("page {}: {why}", at.page))),
                Some(NextPage::End) | None => None,
            };

            // Totals and records that change from page to page show that the pages move.
            if let Some(page) = &page {
                let total = page.read.values.last().filter(|_| endpoint.says_total);
                let total = total.and_then(Option::as_deref);
                for noticed in drift.page(total, &page.read.remembered, page.read.mark.records) {
                    self.taker.noticed(&endpoint.name, at.page, noticed);
                }
                if let Some(high) = &page.read.high {
                    self.see(&endpoint.name, high);
                }
            }

            // A position that no row can hold would be lost with this process.
            let position = next.clone().or_else(|| after.clone());
            if !RowMark::fits(position.as_ref().unwrap_or(&at), &self.marks) {
                return Err(dead(format!(
                    "page {}: the position behind it is too long to store; expected a shorter token of the \
                     next page, or a shorter value in the incremental field",
                    at.page
                )));
            }

            // The last part of the page is handed over. A page that is absent by rule has no records, but
            // moves the position too.
            let (read, hash, bytes) = page.as_ref().map_or((PagePartCounts::default(), "", 0), |page| {
                (page.read.part, page.read.mark.hash.as_str(), page.bytes)
            });
            let asked = asking.shown();
            let part = PagePart {
                nth,
                at: &at,
                next: position,
                marks: &self.marks,
                ends_page: true,
                read,
                bytes,
                hash,
                asked: &asked,
            };
            self.taker.take(part, outputs).instrument(span).await?;

            match next {
                // A trial ends after its number of pages.
                Some(next) if self.most.is_none_or(|most| next.page < most) => at = next,
                Some(_) => return Ok(()),
                None => break,
            }
        }

        // Some signs of moving pages show only at the end of the endpoint.
        if let Some(noticed) = drift.end() {
            self.taker.noticed(&endpoint.name, at.page, noticed);
        }
        Ok(())
    }

    /// Notes a page's highest value of the incremental field.
    fn see(&mut self, endpoint: &str, high: &IncrementalMaximum) {
        match self.marks.high.get_mut(endpoint) {
            Some(seen) => seen.merge(high.clone()),
            None => drop(self.marks.high.insert(endpoint.to_owned(), high.clone())),
        }
    }

    /// Returns the position of the next page. Fails if the API leads back to an earlier page, or past the
    /// limit of pages.
    fn turn_page(
        &self,
        at: &PagePosition,
        token: &str,
        guard: &mut LoopGuard,
    ) -> Result<Option<PagePosition>, PageWalkHalt> {
        let max_pages = self.job.config.retry.max_pages;
        if guard.repeats_token(token) {
            return Err(dead(format!(
                "page {}: expected a token of a new page, found one that leads back to an earlier page",
                at.page
            )));
        }
        if at.page + 1 >= max_pages {
            return Err(dead(format!(
                "endpoint {}: expected at most {max_pages} pages (rate.max_pages), found more",
                at.endpoint
            )));
        }
        let (endpoint, token) = (at.endpoint.clone(), Some(token.to_owned()));
        Ok(Some(PagePosition { endpoint, page: at.page + 1, token, part: None }))
    }

    /// Requests one page until it was read to its end. Returns `None` if the page is absent by rule. `at`
    /// moves on over the parts that were handed over.
    async fn page(
        &mut self,
        nth: usize,
        asking: &mut PageFetch<'_>,
        reader: &mut PageReader,
        at: &mut PagePosition,
        outputs: &mut Outputs,
        guard: &mut LoopGuard,
    ) -> Result<Option<WholePage>, PageWalkHalt> {
        let endpoint = &self.job.config.endpoints[nth];
        loop {
            let answer = asking.answer(self.stop).await.map_err(PageWalkHalt::Refused)?;
            // No records here: by a status rule of the job, for example for 404, or by status 204.
            let Some(answer) = answer else { return Ok(None) };

            // Records of a broken answer are dropped. Parts that were handed over are passed over by the
            // reader.
            outputs.clear();
            let read = self.read(nth, answer, asking, reader, at, outputs).await.and_then(|whole| {
                let Some(whole) = whole else { return Ok(None) };
                // An API that ignores the page number would send the same page for ever.
                let repeats = endpoint.pagination.counts() && guard.repeats_page(&whole.read.mark);
                if repeats {
                    let why =
                        format!("page {}: expected new records, found the page before it again", at.page);
                    return Err(PageReadFailure::Trouble(AnswerTrouble::Hopeless(why)));
                }
                Ok(Some(whole))
            });

            match read {
                Ok(whole) => {
                    asking.well();
                    return Ok(whole);
                }
                Err(PageReadFailure::Halt(halt)) => return Err(halt),
                // Fails itself when the page must not be requested again.
                Err(PageReadFailure::Trouble(trouble)) => {
                    asking.failed(&trouble, self.stop).await.map_err(PageWalkHalt::Refused)?;
                }
            }
        }
    }

    /// Reads one answer to its end, and hands over all parts but the last. Returns `None` if the answer has no
    /// records by rule.
    async fn read(
        &mut self,
        nth: usize,
        mut answer: ApiAnswer,
        asking: &PageFetch<'_>,
        reader: &mut PageReader,
        at: &mut PagePosition,
        outputs: &mut Outputs,
    ) -> Result<Option<WholePage>, PageReadFailure> {
        let endpoint = &self.job.config.endpoints[nth];
        let html = answer.is_html();
        let broken = |error| PageReadFailure::Trouble(AnswerTrouble::page(&error, html));

        // Records that are published already are passed over, and compared.
        let since = self.marks.since.get(&endpoint.name);
        reader.begin(PageBeginning { before: at.part.as_ref(), since, now_ms: now_ms() });
        let id = self.pseudonym.as_deref().map_or(LetterId::Plain(self.id), LetterId::Pseudonym);
        let mut counted = 0;
        while let Some(chunk) = answer.chunk().await.map_err(PageReadFailure::Trouble)? {
            let job = self.job.config.job.as_str();
            let page_at = PageAddress { job, id, run: self.run, endpoint: &endpoint.name, page: at.page };
            reader.feed(page_at, &chunk, outputs).map_err(broken)?;
            if outputs.size() < self.part {
                continue;
            }

            // A part is full: hand it over, and go on behind it.
            let (read, mark) = reader.part();
            let next = PagePosition { part: Some(mark.clone()), ..at.clone() };
            let bytes = answer.bytes() - counted;
            counted = answer.bytes();
            let asked = asking.shown();
            let part = PagePart {
                nth,
                at,
                next: Some(next.clone()),
                marks: &self.marks,
                ends_page: false,
                read,
                bytes,
                hash: &mark.hash,
                asked: &asked,
            };
            self.taker.take(part, outputs).await.map_err(PageReadFailure::Halt)?;
            *at = next;

            // A large page may take long: the position behind the part is a place to stop, too.
            if self.stop.is_cancelled() {
                return Err(PageReadFailure::Halt(PageWalkHalt::Refused(PageRefusal::Stopped)));
            }
        }

        // The last part goes back to the caller, which knows the position behind the page.
        if answer.is_empty() {
            // Some APIs say "nothing" by an empty body.
            return Ok(None);
        }
        let read = reader.finish().map_err(broken)?;
        match self.judged(nth, &read, &answer)? {
            PageContent::Page => {}
            PageContent::Nothing => {
                outputs.clear();
                return Ok(None);
            }
        }
        let next = self.next_of(nth, &read, &answer, at);
        Ok(Some(WholePage { read, next, bytes: answer.bytes() - counted }))
    }

    /// Judges a page by its body. Fails if it is none.
    fn judged(
        &self,
        nth: usize,
        read: &PageSummary,
        answer: &ApiAnswer,
    ) -> Result<PageContent, PageReadFailure> {
        let endpoint = &self.job.config.endpoints[nth];
        let trouble =
            |what, asked, kind| Err(PageReadFailure::Trouble(AnswerTrouble::Passing { what, asked, kind }));
        match endpoint.rules.judge(&read.facts) {
            PageVerdict::Page => {
                self.job.targets[nth].note(&read.facts.values);
                Ok(PageContent::Page)
            }
            PageVerdict::Error(why) => trouble(why, answer.asked, TroubleKind::Page),
            PageVerdict::Condition(action, why) => match action {
                ConditionAction::Retry => trouble(why, None, TroubleKind::Page),
                ConditionAction::Wait(usual) => {
                    let wait = answer.asked.unwrap_or(usual);
                    self.job.api.hold_host(Some(wait));
                    trouble(why, Some(wait), TroubleKind::Busy)
                }
                ConditionAction::Dead => Err(PageReadFailure::Trouble(AnswerTrouble::Hopeless(why))),
                ConditionAction::None => Ok(PageContent::Nothing),
                ConditionAction::Fail => {
                    Err(PageReadFailure::Halt(PageWalkHalt::Fault(Fault::user("reading a page", why))))
                }
            },
        }
    }

    /// Returns the next page by the endpoint's pagination.
    fn next_of(&self, nth: usize, read: &PageSummary, answer: &ApiAnswer, at: &PagePosition) -> NextPage {
        let endpoint = &self.job.config.endpoints[nth];
        // The total, if the endpoint has one, is the last of the values; the others belong to the pagination.
        let wanted = read.values.len() - usize::from(endpoint.says_total);
        let next = endpoint.pagination.next(&PaginationInput {
            values: &read.values[..wanted],
            last_value: read.last_value.as_deref(),
            links: &answer.links(),
            header: endpoint.pagination.header().and_then(|name| answer.header_bytes(name)),
            records: read.mark.records,
            token: at.token.as_deref(),
        });

        // A URL is relative to the page that holds it (RFC 3986, 5.1.3), also after a redirect.
        match next {
            NextPage::Token(token) if endpoint.pagination.follows_urls() => match answer.url.join(&token) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => {
                    NextPage::Token(self.job.api.without_secret(&url).into())
                }
                _ => NextPage::Broken("the next page's URL: expected an http or https URL"),
            },
            next => next,
        }
    }
}

/// The content of an answer.
enum PageContent {
    Page,
    /// A condition says that there are no records.
    Nothing,
}

/// Returns the milliseconds since the epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the halt of an id that no later attempt can complete.
fn dead(why: String) -> PageWalkHalt {
    PageWalkHalt::Refused(PageRefusal::Dead(why))
}
