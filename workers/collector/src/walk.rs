//! An id's way over its endpoints and pages: ask, read, hand over, go on. Who takes the pages decides what becomes of
//! them: a task publishes them (`collect.rs`), a trial shows them (`operate.rs`).
//!
//! A page is handed over when it was read to its end, so half a page is no page. Only one that grows beyond
//! [`PageWalk::part`] bytes of output goes in parts: the position behind a part says how many of the page's records were
//! handed over and what they hash to. Asked for again, after a broken answer or by another process, the page must
//! begin with the same records, which are passed over; if it does not, the id is dead and says so. So a page of any
//! size takes the memory of one part, nothing is held open for as long as a slow API takes to send it, and nothing
//! comes twice. The price: of a large page that never comes whole the first parts are visible.

use sluice_core::{Fault, Outputs};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{PagePosition, RowMark};
use crate::client::{AnswerTrouble, ApiAnswer, PageFetch, PageRefusal};
use crate::config::ApiEndpoint;
use crate::drift::{DriftNotice, PageDriftDetector};
use crate::incremental::{IncrementalMarks, IncrementalMaximum};
use crate::job::CollectorJob;
use crate::pagination::{LoopGuard, NextPage, PaginationInput};
use crate::process::{PageAddress, PagePartCounts, PageReader, PageSummary};
use crate::template::TemplateValues;

/// Takes what is read.
pub(crate) trait PageTaker: Send {
    /// A part of a page, most often all of it; its records are in `outputs`, which comes back empty.
    fn take(
        &mut self,
        part: PagePart<'_>,
        outputs: &mut Outputs,
    ) -> impl Future<Output = Result<(), PageWalkHalt>> + Send;

    /// The pages move while they are read.
    fn noticed(&mut self, endpoint: &str, page: u64, noticed: DriftNotice);
}

/// A part of a page.
pub(crate) struct PagePart<'p> {
    /// Place of its endpoint among the job's.
    pub(crate) nth: usize,
    /// Where it begins.
    pub(crate) at: &'p PagePosition,
    /// Where to go on behind it; `None` when every endpoint is complete.
    pub(crate) next: Option<PagePosition>,
    pub(crate) marks: &'p IncrementalMarks,
    /// Is it the last part of its page?
    pub(crate) ends_page: bool,
    pub(crate) read: PagePartCounts,
    /// Of the page's body, since the last part.
    pub(crate) bytes: u64,
    /// Over the page's records up to here, in hexadecimal.
    pub(crate) hash: &'p str,
    /// What was asked, for people.
    pub(crate) asked: &'p str,
}

/// Why an id's pages stopped.
pub(crate) enum PageWalkHalt {
    Refused(PageRefusal),
    /// Someone else holds the id.
    Lost,
    /// The publisher has ended.
    Unknown,
    Database(sluice_lease::LeaseError),
    Fault(Fault),
}

/// What one id's walk needs.
pub(crate) struct PageWalk<'w, T> {
    pub(crate) job: &'w CollectorJob,
    pub(crate) id: &'w str,
    pub(crate) taker: T,
    pub(crate) stop: &'w CancellationToken,
    pub(crate) marks: IncrementalMarks,
    /// Bytes of output after which a page is handed over in parts.
    pub(crate) part: usize,
    /// Pages per endpoint, for a look.
    pub(crate) most: Option<u64>,
}

/// A page that was read to its end.
struct WholePage {
    read: PageSummary,
    next: NextPage,
    bytes: u64,
}

/// What can be wrong while a page is read.
enum PageReadFailure {
    Trouble(AnswerTrouble),
    Halt(PageWalkHalt),
}

impl<T: PageTaker> PageWalk<'_, T> {
    /// From `at` to the last page of the last endpoint.
    pub(crate) async fn run(&mut self, at: Option<PagePosition>) -> Result<(), PageWalkHalt> {
        let mut outputs = Outputs::new();
        let endpoints = &self.job.config.endpoints;
        let Some(mut at) = at else { return Ok(()) };
        let Some(from) = endpoints.iter().position(|endpoint| endpoint.name == at.endpoint) else {
            return Err(dead(format!(
                "its checkpoint names endpoint `{}`, which the job no longer has",
                at.endpoint
            )));
        };
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

    /// All pages of one endpoint and no other.
    pub(crate) async fn only(&mut self, nth: usize, at: PagePosition) -> Result<(), PageWalkHalt> {
        self.endpoint(nth, at, None, &mut Outputs::new()).await
    }

    /// All pages of one endpoint; `after` is where it goes on behind them.
    async fn endpoint(
        &mut self,
        nth: usize,
        mut at: PagePosition,
        after: Option<PagePosition>,
        outputs: &mut Outputs,
    ) -> Result<(), PageWalkHalt> {
        let job = self.job;
        let endpoint = &job.config.endpoints[nth];
        let since = self.marks.since.get(&endpoint.name).map(|high| high.value.clone());
        let since = since.or_else(|| endpoint.start.clone());
        let mut guard = LoopGuard::default();
        let mut drift = PageDriftDetector::begin(at.page);
        if let Some(token) = &at.token {
            guard.repeats_token(token);
        }
        loop {
            if self.stop.is_cancelled() {
                return Err(PageWalkHalt::Refused(PageRefusal::Stopped));
            }
            let ask = endpoint.pagination.ask(at.token.as_deref());
            let values = TemplateValues { id: self.id, since: since.as_deref() };
            let mut asking = job.api.asking(endpoint, values, &ask).map_err(PageWalkHalt::Refused)?;
            let mut reader = job.reader(nth).map_err(PageWalkHalt::Fault)?;
            let page = self.page(nth, &mut asking, &mut reader, &mut at, outputs, &mut guard).await;
            job.give_back(nth, reader);
            let page = page?;
            let next = match page.as_ref().map(|page| &page.next) {
                Some(NextPage::Token(token)) => self.turn_page(&at, token, &mut guard)?,
                Some(NextPage::Broken(why)) => return Err(dead((*why).to_owned())),
                Some(NextPage::End) | None => None,
            };
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
            let stands = next.clone().or_else(|| after.clone());
            if !RowMark::fits(stands.as_ref().unwrap_or(&at), &self.marks) {
                return Err(dead(format!(
                    "behind page {} there is too much to remember: the next page's token, or the value that tells what \
                     is new, is too long",
                    at.page
                )));
            }
            let (read, hash, bytes) = page.as_ref().map_or((PagePartCounts::default(), "", 0), |page| {
                (page.read.part, page.read.mark.hash.as_str(), page.bytes)
            });
            let asked = asking.shown();
            let part = PagePart {
                nth,
                at: &at,
                next: stands,
                marks: &self.marks,
                ends_page: true,
                read,
                bytes,
                hash,
                asked: &asked,
            };
            self.taker.take(part, outputs).await?;
            match next {
                Some(next) if self.most.is_none_or(|most| next.page < most) => at = next,
                Some(_) => return Ok(()),
                None => break,
            }
        }
        if let Some(noticed) = drift.end() {
            self.taker.noticed(&endpoint.name, at.page, noticed);
        }
        Ok(())
    }

    fn see(&mut self, endpoint: &str, high: &IncrementalMaximum) {
        match self.marks.high.get_mut(endpoint) {
            Some(seen) => seen.merge(high.clone()),
            None => drop(self.marks.high.insert(endpoint.to_owned(), high.clone())),
        }
    }

    /// Where the next page stands, unless the API leads us in circles.
    fn turn_page(
        &self,
        at: &PagePosition,
        token: &str,
        guard: &mut LoopGuard,
    ) -> Result<Option<PagePosition>, PageWalkHalt> {
        let max_pages = self.job.config.retry.max_pages;
        if guard.repeats_token(token) {
            return Err(dead(format!("page {} leads back to an earlier page", at.page)));
        }
        if at.page + 1 >= max_pages {
            return Err(dead(format!("more than {max_pages} pages")));
        }
        let (endpoint, token) = (at.endpoint.clone(), Some(token.to_owned()));
        Ok(Some(PagePosition { endpoint, page: at.page + 1, token, part: None }))
    }

    /// One page, asked for until it was read to its end. `None`: there is nothing here, by rule. `at` moves on over
    /// parts that were handed over.
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
            let Some(answer) = answer else { return Ok(None) };
            outputs.clear();
            let read = self.read(nth, answer, asking, reader, at, outputs).await.and_then(|whole| {
                let repeats = endpoint.pagination.counts() && guard.repeats_page(&whole.read.mark);
                if repeats {
                    let why = format!("page {} is the one before it again", at.page);
                    return Err(PageReadFailure::Trouble(AnswerTrouble::Hopeless(why)));
                }
                Ok(whole)
            });
            match read {
                Ok(whole) => {
                    asking.well();
                    return Ok(Some(whole));
                }
                Err(PageReadFailure::Halt(halt)) => return Err(halt),
                Err(PageReadFailure::Trouble(trouble)) => {
                    asking.failed(&trouble, self.stop).await.map_err(PageWalkHalt::Refused)?;
                }
            }
        }
    }

    /// One answer to its end.
    async fn read(
        &mut self,
        nth: usize,
        mut answer: ApiAnswer,
        asking: &PageFetch<'_>,
        reader: &mut PageReader,
        at: &mut PagePosition,
        outputs: &mut Outputs,
    ) -> Result<WholePage, PageReadFailure> {
        let endpoint = &self.job.config.endpoints[nth];
        let html = answer.is_html();
        let broken = |error| PageReadFailure::Trouble(AnswerTrouble::page(&error, html));
        reader.begin(at.part.as_ref(), self.marks.since.get(&endpoint.name));
        let mut told = 0;
        while let Some(chunk) = answer.chunk().await.map_err(PageReadFailure::Trouble)? {
            let job = self.job.config.job.as_str();
            let page_at = PageAddress { job, endpoint: &endpoint.name, page: at.page };
            reader.feed(page_at, &chunk, outputs).map_err(broken)?;
            if outputs.size() < self.part {
                continue;
            }
            let (read, mark) = reader.part();
            let next = PagePosition { part: Some(mark.clone()), ..at.clone() };
            let bytes = answer.bytes() - told;
            told = answer.bytes();
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
            if self.stop.is_cancelled() {
                return Err(PageReadFailure::Halt(PageWalkHalt::Refused(PageRefusal::Stopped)));
            }
        }
        let read = reader.finish().map_err(broken)?;
        let links = answer.links();
        let next = next_of(endpoint, &read, &links, &answer, at);
        Ok(WholePage { read, next, bytes: answer.bytes() - told })
    }
}

fn next_of(
    endpoint: &ApiEndpoint,
    read: &PageSummary,
    links: &[String],
    answer: &ApiAnswer,
    at: &PagePosition,
) -> NextPage {
    let wanted = read.values.len() - usize::from(endpoint.says_total);
    endpoint.pagination.next(&PaginationInput {
        values: &read.values[..wanted],
        links,
        header: endpoint.pagination.header().and_then(|name| answer.header(name)),
        records: read.mark.records,
        token: at.token.as_deref(),
    })
}

fn dead(why: String) -> PageWalkHalt {
    PageWalkHalt::Refused(PageRefusal::Dead(why))
}
