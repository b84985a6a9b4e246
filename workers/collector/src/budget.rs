//! Keeps this process's part of the shared limits: renews the leases on their tokens, says how many could be used, and
//! passes on what the API has said to one replica.

use std::sync::Arc;
use std::time::Duration;

use sluice_lease::{Budgets, Request};
use sluice_runtime::status::Status;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Api, Gate};

/// Between renewals.
const RENEW: Duration = Duration::from_millis(400);
/// Between renewals while somebody waits and there is nothing to give.
const HUNGRY: Duration = Duration::from_millis(100);
/// How long tokens are leased, beyond the time for which the API may still count one.
const LEASE: Duration = Duration::from_secs(4);
/// Clocks that run differently, and a renewal that is under way when a lease ends.
const MARGIN: Duration = Duration::from_millis(200);

/// Until `stop`; then the tokens are given back.
pub(crate) async fn keep(api: &Api, budgets: &Budgets, status: &Status, stop: &CancellationToken) {
    let gates = api.polite().gates();
    if gates.is_empty() {
        return;
    }
    loop {
        let hold = api.polite().untold().map(|until| until.saturating_duration_since(Instant::now()));
        let mut failed = None;
        for gate in gates {
            match renew(gate, budgets, hold).await {
                Ok(hold) if hold.is_zero() => {}
                Ok(hold) => api.polite().hold_back(Instant::now() + hold),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        match failed {
            None => status.neighbour("database", Ok(())),
            Some(error) => {
                // Others must hear of it at the next renewal.
                if let Some(hold) = hold {
                    api.polite().hold_everyone_back(Instant::now() + hold);
                }
                status.neighbour("database", Err(error));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = async { tokio::time::sleep(HUNGRY).await; any_hungry(gates).await } => {}
            () = stop.cancelled() => break,
        }
    }
    for gate in gates {
        gate.lease(0, None);
        let held = gate.demand().held;
        if let Err(error) = budgets.give_back(gate.name(), held, gate.tail()).await {
            tracing::debug!(%error, "tokens could not be given back; their lease will pass");
        }
    }
}

async fn renew(
    gate: &Arc<Gate>,
    budgets: &Budgets,
    hold: Option<Duration>,
) -> Result<Duration, sluice_lease::LeaseError> {
    let demand = gate.demand();
    let lease = LEASE.saturating_add(gate.tail());
    let request = Request {
        budget: gate.name(),
        total: gate.total(),
        wanted: demand.wanted,
        held: demand.held,
        refused: demand.refused,
        hold,
        lease,
    };
    // From before the question was sent: the database's lease began later than that.
    let asked = Instant::now();
    let grant = budgets.renew(&request).await?;
    // The last request on a token must be over, in the API's count too, before the lease passes.
    gate.lease(grant.tokens, Some(asked + LEASE - MARGIN));
    Ok(grant.hold)
}

async fn any_hungry(gates: &[Arc<Gate>]) {
    let mut waiting: Vec<_> = gates.iter().map(|gate| Box::pin(gate.hungry())).collect();
    std::future::poll_fn(|context| {
        let any = waiting.iter_mut().any(|gate| gate.as_mut().poll(context).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
