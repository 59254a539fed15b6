//! The leases a process holds. A living process extends them; those of a dead one run out after the subscription's deadline, those of
//! a frozen one too if it stays frozen that long, and now and then one is lost for no reason at all.

use crate::process::{Condition, Process};
use clipfleet_cloud::Delivery;
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// See the module.
#[derive(Default)]
pub(crate) struct Holding(Mutex<Held>);

#[derive(Default)]
struct Held {
    leases: BTreeMap<u64, Lease>,
    serial: u64,
    freezes: u64,
}

struct Lease {
    subscription: String,
    deadline: Duration,
    /// The cloud's own delivery: settling it settles the message, dropping it hands back.
    delivery: Delivery,
}

impl Holding {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock()
    }

    /// Takes a delivery in; the number of its lease.
    pub(crate) fn hold(&self, subscription: &str, deadline: Duration, delivery: Delivery) -> u64 {
        let mut held = self.lock();
        held.serial += 1;
        let number = held.serial;
        held.leases.insert(number, Lease { subscription: subscription.to_owned(), deadline, delivery });
        number
    }

    /// Settles a lease, if it is still held: what a process says of a lease that ran out has no effect.
    pub(crate) fn settle(&self, process: &Arc<Process>, number: u64, done: bool) {
        match process.condition() {
            Condition::Running => {}
            Condition::Dead => return,
            Condition::Frozen => {
                let process = Arc::clone(process);
                tokio::spawn(async move {
                    process.runs().await;
                    process.holding.settle(&process, number, done);
                });
                return;
            }
        }
        let world = &process.world;
        let Some(Lease { subscription, deadline, delivery }) = self.lock().leases.remove(&number) else { return };
        let verb = if done { "settles" } else { "hands back" };
        world.trace(&process.name, format_args!("{verb} {subscription} {}", delivery.message_id));
        if world.happens("a settlement was lost", |weather| weather.settlement_lost) {
            later(deadline, move || drop(delivery));
        } else if done {
            delivery.ack();
        }
    }

    /// Loses a lease, if it is still held; its holder goes on, unknowing.
    pub(crate) fn lose(&self, process: &Process, number: u64) {
        let lease = self.lock().leases.remove(&number);
        if let Some(Lease { subscription, delivery, .. }) = lease {
            process.world.trace(&process.name, format_args!("loses {subscription} {}", delivery.message_id));
            process.world.count(&format!("a lease of {subscription} was lost by the living"));
            process.world.observe(|ledger, _| {
                ledger.lease_lost();
                Ok(())
            });
        }
    }

    /// The process is dead: its leases run out.
    pub(crate) fn abandon(&self, process: &Process) {
        let leases = std::mem::take(&mut self.lock().leases);
        for lease in leases.into_values() {
            process.world.count(&format!("a lease of {} was left by the dead", lease.subscription));
            later(lease.deadline, move || drop(lease.delivery));
        }
    }

    /// The process is frozen: what it holds runs out unless it thaws in time.
    pub(crate) fn freeze(&self, process: &Arc<Process>) {
        let mut held = self.lock();
        held.freezes += 1;
        let freeze = held.freezes;
        for (number, lease) in &held.leases {
            let (number, process) = (*number, Arc::clone(process));
            later(lease.deadline, move || {
                let same = process.holding.lock().freezes == freeze;
                if same && process.condition() == Condition::Frozen {
                    process.world.count("a lease was lost by the frozen");
                    process.holding.lose(&process, number);
                }
            });
        }
    }
}

fn later(wait: Duration, act: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(wait).await;
        act();
    });
}
