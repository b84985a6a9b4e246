//! Keeps this process's part of the shared limits: renews the leases on their tokens, says how many could be used,
//! passes on what the API has said to one replica, and looks for what it has said to others.

use std::sync::Arc;
use std::time::Duration;

use sluice_lease::{BudgetRequest, SharedBudgets};
use sluice_runtime::status::WorkerStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{ApiClient, ApiPoliteness, RateGate};

/// Between renewals.
const RENEW: Duration = Duration::from_millis(400);
/// Between renewals while somebody waits and there is nothing to give.
const HUNGRY: Duration = Duration::from_millis(100);
/// How long tokens are leased, beyond the time for which the API may still count one.
const LEASE: Duration = Duration::from_secs(4);
/// Clocks that run differently, and a renewal that is under way when a lease ends.
const MARGIN: Duration = Duration::from_millis(200);

/// After the database did not answer.
const AGAIN: Duration = Duration::from_millis(100);

/// Until `stop`; then the tokens are given back.
pub(crate) async fn keep(
    api: &ApiClient,
    budgets: &SharedBudgets,
    status: &WorkerStatus,
    stop: &CancellationToken,
) {
    let gates = api.polite().gates();
    if gates.is_empty() {
        return;
    }
    tokio::select! {
        () = renewals(gates, budgets, status) => {}
        () = looks(api.polite(), budgets, status) => {}
        () = stop.cancelled() => {}
    }
    for gate in gates {
        gate.lease(0, None);
        let held = gate.demand().held;
        if let Err(error) = budgets.give_back(gate.name(), held, gate.tail()).await {
            tracing::debug!(%error, "tokens could not be given back; their lease will pass");
        }
    }
}

/// Renews the leases, for ever.
async fn renewals(gates: &[Arc<RateGate>], budgets: &SharedBudgets, status: &WorkerStatus) {
    loop {
        let mut failed = None;
        for gate in gates {
            if let Err(error) = renew(gate, budgets).await {
                failed = Some(error.to_string());
            }
        }
        status.neighbour("database", failed.map_or(Ok(()), Err));
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = async { tokio::time::sleep(HUNGRY).await; any_hungry(gates).await } => {}
        }
    }
}

/// Tells the others what the API has said, and looks for what it has said to them, whenever a request is about to be
/// sent; for ever. The rule is at the head of `client/clearance.rs`.
async fn looks(polite: &ApiPoliteness, budgets: &SharedBudgets, status: &WorkerStatus) {
    let names: Vec<&str> = polite.gates().iter().map(|gate| gate.name()).collect();
    loop {
        polite.clearance().news().await;
        if let Some(until) = polite.untold()
            && let Err(error) = budgets.hold(&names, until.saturating_duration_since(Instant::now())).await
        {
            status.neighbour("database", Err(error.to_string()));
            tokio::time::sleep(AGAIN).await;
            polite.hold_everyone_back(until);
            continue;
        }
        let waiting = polite.clearance().waiting();
        if waiting.is_empty() {
            continue;
        }
        let began = Instant::now();
        match budgets.held(&names).await {
            Ok(hold) => {
                if !hold.is_zero() {
                    polite.hold_back(Instant::now() + hold);
                }
                for one in waiting {
                    // It may have been told to stop meanwhile.
                    let _ = one.send(began);
                }
            }
            Err(error) => {
                status.neighbour("database", Err(error.to_string()));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

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
    // From before the question was sent: the database's lease began later than that.
    let asked = Instant::now();
    let tokens = budgets.renew(&request).await?;
    // The last request on a token must be over, in the API's count too, before the lease passes.
    gate.lease(tokens, Some(asked + LEASE - MARGIN));
    Ok(())
}

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
