//! A budget of N requests in any second, as the API counts requests. Pure.
//!
//! A request takes a token before it is sent. The token comes back one second after the *answer* began. Take
//! any second at which the API looks. A request that arrived in it was sent before that second ended and
//! answered after it began. Its token was therefore out at the end of that second, and there are only N
//! tokens. Slow sending, slow networks and stalled processes do not change this. A scheme that spaces out the
//! *sending* cannot promise it.
//!
//! A slow answer would cost rate for its whole time, although its request arrived long before. A token
//! therefore comes back at the latest one second and [`ARRIVAL`] after it was taken. The one assumption is
//! that a request which takes longer to be answered has arrived by then.
//!
//! ```text
//!   taken ── sent ──► arrived (the API counts) ──► answer begins ────── 1 s ──────► back
//!   taken ──── ARRIVAL ────┤────────────────────── 1 s ──────► back, if the answer takes longer
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time within which a request has reached the API, if it was not answered before. Costs at most 4 % of
/// the rate.
pub(crate) const ARRIVAL: Duration = Duration::from_millis(40);
/// The delay of a timer that may be made up for.
const SLACK: Duration = Duration::from_millis(10);

/// The tokens of one budget in one process.
#[derive(Debug)]
pub(crate) struct RateWindow {
    /// The time for which a token is out.
    span: Duration,
    /// The number of tokens that may be out.
    capacity: u32,
    /// The end of the lease. No token is given from here on.
    until: Option<Instant>,
    /// Tokens that were taken and not answered, oldest first, by number and time.
    sent: VecDeque<(u64, Instant)>,
    /// The instants at which the answered tokens come back. The list is nearly sorted, not sorted.
    back: Vec<Instant>,
    /// The earliest instant of the next token: tokens are given evenly, not all at the beginning of a second.
    next: Option<Instant>,
    /// The number of the token that was taken last.
    number: u64,
}

/// A token that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateToken(u64);

impl RateWindow {
    /// Makes a window that has no token to give; see [`RateWindow::lease`].
    pub(crate) fn new(span: Duration) -> Self {
        let (sent, back) = (VecDeque::new(), Vec::new());
        Self { span, capacity: 0, until: None, sent, back, next: None, number: 0 }
    }

    /// Sets the lease: `capacity` tokens until `until`, or without an end.
    pub(crate) fn lease(&mut self, capacity: u32, until: Option<Instant>) {
        self.capacity = capacity;
        self.until = until;
    }

    /// Returns the number of tokens of the present lease.
    pub(crate) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the number of tokens that are out. They cannot be given to another process yet.
    pub(crate) fn out(&mut self, now: Instant) -> u32 {
        self.collect(now);
        u32::try_from(self.sent.len() + self.back.len()).unwrap_or(u32::MAX)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The instant at which to ask again, or `None` if only a change of the lease can help.
    pub(crate) fn take(&mut self, now: Instant) -> Result<RateToken, Option<Instant>> {
        // Without a valid lease another process may own the tokens.
        if self.until.is_some_and(|until| now >= until) {
            return Err(None);
        }
        let out = self.out(now);
        if self.capacity == 0 {
            return Err(None);
        }

        // All tokens are out: the caller waits for the first that comes back.
        if out >= self.capacity {
            let oldest = self.sent.front().map(|(_, taken)| *taken + ARRIVAL + self.span);
            return Err(self.back.iter().copied().chain(oldest).min());
        }

        // Tokens are spread a little faster than the rate: the count is the limit, this only avoids bursts.
        let step = self.span.mul_f64(0.97) / self.capacity;
        let next = self.next.map_or(now, |next| next.max(now.checked_sub(SLACK).unwrap_or(now)));
        if next > now {
            return Err(Some(next));
        }
        self.next = Some(next + step);

        self.number += 1;
        self.sent.push_back((self.number, now));
        Ok(RateToken(self.number))
    }

    /// Notes that the token's request is sent only now. `false`: the token is no longer ours.
    pub(crate) fn sent(&mut self, token: RateToken, now: Instant) -> bool {
        self.collect(now);
        let passed = self.until.is_some_and(|until| now >= until);
        match self.sent.iter().position(|(number, _)| *number == token.0) {
            // The token moves to the end, because the list is ordered by time.
            Some(at) if !passed => {
                self.sent.remove(at);
                self.sent.push_back((token.0, now));
                true
            }
            _ => false,
        }
    }

    /// Takes back a token on which nothing was sent. It can be given again at once.
    pub(crate) fn unused(&mut self, token: RateToken) {
        self.sent.retain(|(number, _)| *number != token.0);
    }

    /// Notes that the token's request was answered, or failed.
    pub(crate) fn answered(&mut self, token: RateToken, now: Instant) {
        // A token that is missing here came back already, because its answer took longer than `ARRIVAL`.
        if let Some(at) = self.sent.iter().position(|(number, _)| *number == token.0)
            && let Some((_, taken)) = self.sent.remove(at)
        {
            self.back.push(now.min(taken + ARRIVAL) + self.span);
        }
    }

    /// Takes back the tokens whose time has passed.
    fn collect(&mut self, now: Instant) {
        while let Some((_, taken)) = self.sent.front()
            && *taken + ARRIVAL + self.span <= now
        {
            self.sent.pop_front();
        }
        self.back.retain(|back| *back > now);
    }
}

/// Returns the number of tokens of a rate, and the time for which each is out. A rate below one per second is
/// one token that is out for longer: 0.5 per second is one token for two seconds.
pub(crate) fn tokens(per_second: f64) -> (u32, Duration) {
    if per_second < 1.0 {
        // A tiny rate would overflow the instants to which the duration is added.
        return (1, Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX / 4));
    }
    (per_second as u32, Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a window for `seconds`. `delay` gives the times after which a request arrives and is answered.
    /// Returns the most arrivals in any second, and all of them.
    fn run(capacity: u32, seconds: u64, mut delay: impl FnMut(u64) -> (u64, u64)) -> (usize, usize) {
        let start = Instant::now();
        let mut window = RateWindow::new(Duration::from_secs(1));
        window.lease(capacity, None);
        let mut arrivals: Vec<u64> = Vec::new();
        let mut open: Vec<(u64, RateToken)> = Vec::new();
        for tick in 0..seconds * 1_000 {
            let now = start + Duration::from_millis(tick);
            open.retain(|(at, token)| {
                if *at <= tick {
                    window.answered(*token, now);
                }
                *at > tick
            });
            while let Ok(token) = window.take(now) {
                let (arrives, answered) = delay(tick);
                arrivals.push(tick + arrives);
                open.push((tick + answered, token));
            }
        }
        arrivals.sort_unstable();
        let in_second = |from: &u64| arrivals.iter().filter(|at| (*from..*from + 1_000).contains(at)).count();
        (arrivals.iter().map(in_second).max().unwrap_or(0), arrivals.len())
    }

    #[test]
    fn no_second_holds_more_and_the_rate_is_reached() {
        for capacity in [1, 2, 7, 50, 300] {
            let (most, all) = run(capacity, 20, |_| (1, 2));
            assert!(most <= capacity as usize, "{most} in a second, {capacity} allowed");
            let reached = all as f64 / (20.0 * f64::from(capacity));
            assert!(reached >= 0.95, "{reached} of {capacity}");
        }
    }

    #[test]
    fn slow_answers_do_not_cost_the_rate() {
        let (most, all) = run(100, 20, |_| (5, 900));
        assert!(most <= 100 && all >= 1_900, "{most}, {all}");
    }

    #[test]
    fn a_stall_on_the_way_is_not_made_up_for() {
        // Every third second the network holds everything back and lets go at once; answers follow arrivals.
        let (most, _) = run(50, 30, |tick| {
            let arrives = if tick % 3_000 < 500 { 500 - tick % 3_000 } else { 1 };
            (arrives.min(39), arrives.min(39) + 1)
        });
        assert!(most <= 50, "{most}");
    }

    #[test]
    fn without_a_lease_nothing_is_given() {
        let now = Instant::now();
        let mut window = RateWindow::new(Duration::from_secs(1));
        assert_eq!(window.take(now), Err(None));
        window.lease(1, Some(now + Duration::from_secs(1)));
        let token = window.take(now).unwrap();
        assert_eq!(window.out(now), 1);
        window.answered(token, now);
        assert_eq!(window.out(now + Duration::from_millis(999)), 1);
        assert_eq!(window.take(now + Duration::from_secs(1)), Err(None), "the lease has passed");
        assert_eq!(window.out(now + Duration::from_millis(1_001)), 0);
    }

    #[test]
    fn a_token_counts_from_when_its_request_is_sent() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut window = RateWindow::new(Duration::from_secs(1));
        window.lease(2, Some(at(3_000)));
        let (one, other) = (window.take(now).unwrap(), window.take(at(500)).unwrap());
        assert!(window.sent(one, at(600)));
        window.unused(other);
        assert_eq!(window.out(at(1_600)), 1);
        assert_eq!(window.out(at(1_641)), 0, "40 ms for the way and a second, from when it was sent");
        assert!(!window.sent(one, at(1_700)), "it is back already");
        let late = window.take(at(2_900)).unwrap();
        assert!(!window.sent(late, at(3_000)), "the lease has passed");
    }

    #[test]
    fn less_than_one_in_a_second_is_one_in_several() {
        assert_eq!(tokens(0.5), (1, Duration::from_secs(2)));
        assert_eq!(tokens(10.7), (10, Duration::from_secs(1)));
    }
}
