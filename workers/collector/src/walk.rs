//! An id's way over its endpoints and pages: ask, read, hand over, go on. Who takes the pages decides what becomes of
//! them: a task publishes them (`collect.rs`), a trial shows them (`operate.rs`).
//!
//! A page is handed over when it was read to its end, so half a page is no page. Only one that grows beyond
//! [`Walk::part`] bytes of output goes in parts: the position behind a part says how many of the page's records were
//! handed over and what they hash to. Asked for again, after a broken answer or by another process, the page must
//! begin with the same records, which are passed over; if it does not, the id is dead and says so. So a page of any
//! size takes the memory of one part, nothing is held open for as long as a slow API takes to send it, and nothing
//! comes twice. The price: of a large page that never comes whole the first parts are visible.

use sluice_core::{Fault, Outputs};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{Position, RowMark};
use crate::client::{Answer, Asking, Refusal, Trouble};
use crate::config::Endpoint;
use crate::drift::{Drift, Noticed};
use crate::incremental::{High, Marks};
use crate::job::Job;
use crate::pagination::{LoopGuard, Next, Seen};
use crate::process::{PageAt, PageRead, PageReader, PartRead};
use crate::template::Values;

/// Takes what is read.
pub(crate) trait Taker: Send {
    /// A part of a page, most often all of it; its records are in `outputs`, which comes back empty.
    fn take(
        &mut self,
        part: Part<'_>,
        outputs: &mut Outputs,
    ) -> impl Future<Output = Result<(), Halt>> + Send;

    /// The pages move while they are read.
    fn noticed(&mut self, endpoint: &str, page: u64, noticed: Noticed);
}

/// A part of a page.
pub(crate) struct Part<'p> {
    /// Place of its endpoint among the job's.
    pub(crate) nth: usize,
    /// Where it begins.
    pub(crate) at: &'p Position,
    /// Where to go on behind it; `None` when every endpoint is complete.
    pub(crate) next: Option<Position>,
    pub(crate) marks: &'p Marks,
    /// Is it the last part of its page?
    pub(crate) ends_page: bool,
    pub(crate) read: PartRead,
    /// Of the page's body, since the last part.
    pub(crate) bytes: u64,
    /// Over the page's records up to here, in hexadecimal.
    pub(crate) hash: &'p str,
    /// What was asked, for people.
    pub(crate) asked: &'p str,
}

/// Why an id's pages stopped.
pub(crate) enum Halt {
    Refused(Refusal),
    /// Someone else holds the id.
    Lost,
    /// The publisher has ended.
    Unknown,
    Database(sluice_lease::LeaseError),
    Fault(Fault),
}

/// What one id's walk needs.
pub(crate) struct Walk<'w, T> {
    pub(crate) job: &'w Job,
    pub(crate) id: &'w str,
    pub(crate) taker: T,
    pub(crate) stop: &'w CancellationToken,
    pub(crate) marks: Marks,
    /// Bytes of output after which a page is handed over in parts.
    pub(crate) part: usize,
    /// Pages per endpoint, for a look.
    pub(crate) most: Option<u64>,
}

/// A page that was read to its end.
struct Whole {
    read: PageRead,
    next: Next,
    bytes: u64,
}

/// What can be wrong while a page is read.
enum Stumble {
    Trouble(Trouble),
    Halt(Halt),
}

impl<T: Taker> Walk<'_, T> {
    /// From `at` to the last page of the last endpoint.
    pub(crate) async fn run(&mut self, at: Option<Position>) -> Result<(), Halt> {
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
            let after = endpoints.get(nth + 1).map(|next| Position::first(&next.name));
            self.endpoint(nth, at, after.clone(), &mut outputs).await?;
            match after {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// All pages of one endpoint and no other.
    pub(crate) async fn only(&mut self, nth: usize, at: Position) -> Result<(), Halt> {
        self.endpoint(nth, at, None, &mut Outputs::new()).await
    }

    /// All pages of one endpoint; `after` is where it goes on behind them.
    async fn endpoint(
        &mut self,
        nth: usize,
        mut at: Position,
        after: Option<Position>,
        outputs: &mut Outputs,
    ) -> Result<(), Halt> {
        let job = self.job;
        let endpoint = &job.config.endpoints[nth];
        let since = self.marks.since.get(&endpoint.name).map(|high| high.value.clone());
        let since = since.or_else(|| endpoint.start.clone());
        let mut guard = LoopGuard::default();
        let mut drift = Drift::begin(at.page);
        if let Some(token) = &at.token {
            guard.repeats_token(token);
        }
        loop {
            if self.stop.is_cancelled() {
                return Err(Halt::Refused(Refusal::Stopped));
            }
            let ask = endpoint.pagination.ask(at.token.as_deref());
            let values = Values { id: self.id, since: since.as_deref() };
            let mut asking = job.api.asking(endpoint, values, &ask).map_err(Halt::Refused)?;
            let mut reader = job.reader(nth).map_err(Halt::Fault)?;
            let page = self.page(nth, &mut asking, &mut reader, &mut at, outputs, &mut guard).await;
            job.give_back(nth, reader);
            let page = page?;
            let next = match page.as_ref().map(|page| &page.next) {
                Some(Next::Token(token)) => self.turn_page(&at, token, &mut guard)?,
                Some(Next::Broken(why)) => return Err(dead((*why).to_owned())),
                Some(Next::End) | None => None,
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
            let (read, hash, bytes) = page.as_ref().map_or((PartRead::default(), "", 0), |page| {
                (page.read.part, page.read.mark.hash.as_str(), page.bytes)
            });
            let asked = asking.shown();
            let part = Part {
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

    fn see(&mut self, endpoint: &str, high: &High) {
        match self.marks.high.get_mut(endpoint) {
            Some(seen) => seen.merge(high.clone()),
            None => drop(self.marks.high.insert(endpoint.to_owned(), high.clone())),
        }
    }

    /// Where the next page stands, unless the API leads us in circles.
    fn turn_page(&self, at: &Position, token: &str, guard: &mut LoopGuard) -> Result<Option<Position>, Halt> {
        let max_pages = self.job.config.retry.max_pages;
        if guard.repeats_token(token) {
            return Err(dead(format!("page {} leads back to an earlier page", at.page)));
        }
        if at.page + 1 >= max_pages {
            return Err(dead(format!("more than {max_pages} pages")));
        }
        let (endpoint, token) = (at.endpoint.clone(), Some(token.to_owned()));
        Ok(Some(Position { endpoint, page: at.page + 1, token, part: None }))
    }

    /// One page, asked for until it was read to its end. `None`: there is nothing here, by rule. `at` moves on over
    /// parts that were handed over.
    async fn page(
        &mut self,
        nth: usize,
        asking: &mut Asking<'_>,
        reader: &mut PageReader,
        at: &mut Position,
        outputs: &mut Outputs,
        guard: &mut LoopGuard,
    ) -> Result<Option<Whole>, Halt> {
        let endpoint = &self.job.config.endpoints[nth];
        loop {
            let answer = asking.answer(self.stop).await.map_err(Halt::Refused)?;
            let Some(answer) = answer else { return Ok(None) };
            outputs.clear();
            let read = self.read(nth, answer, asking, reader, at, outputs).await.and_then(|whole| {
                let repeats = endpoint.pagination.counts() && guard.repeats_page(&whole.read.mark);
                if repeats {
                    let why = format!("page {} is the one before it again", at.page);
                    return Err(Stumble::Trouble(Trouble::Hopeless(why)));
                }
                Ok(whole)
            });
            match read {
                Ok(whole) => {
                    asking.well();
                    return Ok(Some(whole));
                }
                Err(Stumble::Halt(halt)) => return Err(halt),
                Err(Stumble::Trouble(trouble)) => {
                    asking.failed(&trouble, self.stop).await.map_err(Halt::Refused)?;
                }
            }
        }
    }

    /// One answer to its end.
    async fn read(
        &mut self,
        nth: usize,
        mut answer: Answer,
        asking: &Asking<'_>,
        reader: &mut PageReader,
        at: &mut Position,
        outputs: &mut Outputs,
    ) -> Result<Whole, Stumble> {
        let endpoint = &self.job.config.endpoints[nth];
        let html = answer.is_html();
        let broken = |error| Stumble::Trouble(Trouble::page(&error, html));
        reader.begin(at.part.as_ref(), self.marks.since.get(&endpoint.name));
        let mut told = 0;
        while let Some(chunk) = answer.chunk().await.map_err(Stumble::Trouble)? {
            let job = self.job.config.job.as_str();
            let page_at = PageAt { job, endpoint: &endpoint.name, page: at.page };
            reader.feed(page_at, &chunk, outputs).map_err(broken)?;
            if outputs.size() < self.part {
                continue;
            }
            let (read, mark) = reader.part();
            let next = Position { part: Some(mark.clone()), ..at.clone() };
            let bytes = answer.bytes() - told;
            told = answer.bytes();
            let asked = asking.shown();
            let part = Part {
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
            self.taker.take(part, outputs).await.map_err(Stumble::Halt)?;
            *at = next;
            if self.stop.is_cancelled() {
                return Err(Stumble::Halt(Halt::Refused(Refusal::Stopped)));
            }
        }
        let read = reader.finish().map_err(broken)?;
        let links = answer.links();
        let next = next_of(endpoint, &read, &links, &answer, at);
        Ok(Whole { read, next, bytes: answer.bytes() - told })
    }
}

fn next_of(endpoint: &Endpoint, read: &PageRead, links: &[String], answer: &Answer, at: &Position) -> Next {
    let wanted = read.values.len() - usize::from(endpoint.says_total);
    endpoint.pagination.next(&Seen {
        values: &read.values[..wanted],
        links,
        header: endpoint.pagination.header().and_then(|name| answer.header(name)),
        records: read.mark.records,
        token: at.token.as_deref(),
    })
}

fn dead(why: String) -> Halt {
    Halt::Refused(Refusal::Dead(why))
}
