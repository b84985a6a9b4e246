//! Keeps this process's part of the shared budgets: it renews the leases on tokens and reports the number of
//! tokens that could be used. It also passes on the holds that the API sent to this replica, and reads those
//! that the API sent to others.

use std::sync::Arc;
use std::time::Duration;

use sluice_lease::{BudgetRequest, SharedBudgets};
use sluice_runtime::status::WorkerStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{ApiClient, ApiPoliteness, RateGate};

/// The time between renewals.
const RENEW: Duration = Duration::from_millis(400);
/// The time between renewals while a request waits and no token is left.
const HUNGRY: Duration = Duration::from_millis(100);
/// The time for which tokens are leased, beyond the time for which the API may still count one.
const LEASE: Duration = Duration::from_secs(4);
/// A margin for clocks that run differently, and for a renewal that is under way when a lease ends.
const MARGIN: Duration = Duration::from_millis(200);

/// The pause after the database did not answer.
const AGAIN: Duration = Duration::from_millis(100);

/// Keeps the leases and the holds until `stop`, then gives the tokens back.
pub(crate) async fn keep(
    api: &ApiClient,
    budgets: &SharedBudgets,
    status: &WorkerStatus,
    stop: &CancellationToken,
) {
    // Without a rate there is nothing to share.
    let gates = api.polite().gates();
    if gates.is_empty() {
        return;
    }

    // Both tasks run until `stop`.
    tokio::select! {
        () = renew_leases(gates, budgets, status) => {}
        () = share_holds(api.polite(), budgets, status) => {}
        () = stop.cancelled() => {}
    }

    // No request may take a token any more. Tokens that are out stay held until the API has forgotten them.
    for gate in gates {
        gate.lease(0, None);
        let held = gate.demand().held;
        if let Err(error) = budgets.give_back(gate.name(), held, gate.tail()).await {
            tracing::debug!(
                budget = gate.name(),
                %error,
                "the tokens were not given back; other replicas get them when the lease passes"
            );
        }
    }
}

/// Renews the leases; never returns.
async fn renew_leases(gates: &[Arc<RateGate>], budgets: &SharedBudgets, status: &WorkerStatus) {
    loop {
        let mut failed = None;
        for gate in gates {
            if let Err(error) = renew(gate, budgets).await {
                failed = Some(error.to_string());
            }
        }
        status.neighbour("database", failed.map_or(Ok(()), Err));
        // A waiting request shortens the pause, but no replica asks more often than every `HUNGRY`.
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = async { tokio::time::sleep(HUNGRY).await; any_hungry(gates).await } => {}
        }
    }
}

/// Passes on the holds that the API sent to this process, and reads the holds of the others, whenever a
/// request is about to be sent; never returns. The rules are at the head of `client/clearance.rs`.
async fn share_holds(polite: &ApiPoliteness, budgets: &SharedBudgets, status: &WorkerStatus) {
    let names: Vec<&str> = polite.gates().iter().map(|gate| gate.name()).collect();
    loop {
        polite.clearance().news().await;

        // A hold of our own is written before anything is read. If the database is away, the hold is kept for
        // the next attempt, and the waiting requests go on waiting.
        if let Some(until) = polite.untold()
            && let Err(error) = budgets.hold(&names, until.saturating_duration_since(Instant::now())).await
        {
            status.neighbour("database", Err(error.to_string()));
            tokio::time::sleep(AGAIN).await;
            polite.hold_everyone_back(until);
            continue;
        }

        // One look is for every request that waits when it begins.
        let waiting = polite.clearance().waiting();
        if waiting.is_empty() {
            continue;
        }
        let began = Instant::now();
        match budgets.held(&names).await {
            Ok(hold) => {
                // The hold is known to the process before any request goes on.
                if !hold.is_zero() {
                    polite.hold_back(Instant::now() + hold);
                }
                for request in waiting {
                    // A request whose task was stopped meanwhile does not receive it.
                    let _ = request.send(began);
                }
            }
            // The requests are dropped from the queue: they get no look, and ask again.
            Err(error) => {
                status.neighbour("database", Err(error.to_string()));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Renews the lease of one budget.
async fn renew(gate: &Arc<RateGate>, budgets: &SharedBudgets) -> Result<(), sluice_lease::LeaseError> {
    let demand = gate.demand();
    let lease = LEASE.saturating_add(gate.tail());
    let request = BudgetRequest {
        budget: gate.name(),
        total: gate.total(),
        wanted: demand.wanted,
        held: demand.held,
        refused: demand.refused,
        lease,
    };
    // The lease counts from before the question was sent: in the database it began later than that.
    let asked = Instant::now();
    let tokens = budgets.renew(&request).await?;
    // The last request on a token must be over before the lease passes, also in the API's count.
    gate.lease(tokens, Some(asked + LEASE - MARGIN));
    Ok(())
}

/// Waits until a request waits at any gate.
async fn any_hungry(gates: &[Arc<RateGate>]) {
    let mut waiting: Vec<_> = gates.iter().map(|gate| Box::pin(gate.hungry())).collect();
    std::future::poll_fn(|context| {
        let any = waiting.iter_mut().any(|gate| gate.as_mut().poll(context).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
