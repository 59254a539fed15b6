//! The leases that a process holds. A running process extends them. The leases of a dead process expire after the
//! subscription's deadline, and so do those of a process that stays frozen that long. Sometimes a lease of a running
//! process expires, too.

use crate::process::{Condition, Process};
use clipfleet_cloud::Delivery;
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// See the module.
#[derive(Default)]
pub(crate) struct Leases(Mutex<Held>);

#[derive(Default)]
struct Held {
    leases: BTreeMap<u64, Lease>,
    serial: u64,
    freezes: u64,
}

struct Lease {
    subscription: String,
    deadline: Duration,
    /// The cloud's own delivery: settling it settles the message, dropping it nacks it.
    delivery: Delivery,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock()
    }

    /// Adds the lease of a delivery and returns its number.
    pub(crate) fn add(&self, subscription: &str, deadline: Duration, delivery: Delivery) -> u64 {
        let mut held = self.lock();
        held.serial += 1;
        let number = held.serial;
        held.leases.insert(number, Lease { subscription: subscription.to_owned(), deadline, delivery });
        number
    }

    /// Settles a lease if the process still holds it. Settling an expired lease has no effect.
    pub(crate) fn settle(&self, process: &Arc<Process>, number: u64, done: bool) {
        match process.condition() {
            Condition::Running => {}
            Condition::Dead => return,
            Condition::Frozen => {
                let process = Arc::clone(process);
                tokio::spawn(async move {
                    process.wait_until_running().await;
                    process.leases.settle(&process, number, done);
                });
                return;
            }
        }
        let world = &process.world;
        let Some(Lease { subscription, deadline, delivery }) = self.lock().leases.remove(&number) else { return };
        let verb = if done { "acks" } else { "nacks" };
        world.trace(&process.name, format_args!("{verb} {subscription} {}", delivery.message_id));
        if world.occurs("a settlement was lost", |faults| faults.settlement_lost) {
            spawn_after(deadline, move || drop(delivery));
        } else if done {
            delivery.ack();
        }
    }

    /// Expires a lease if the process still holds it. The process is not notified.
    pub(crate) fn expire(&self, process: &Process, number: u64) {
        let lease = self.lock().leases.remove(&number);
        if let Some(Lease { subscription, delivery, .. }) = lease {
            process
                .world
                .trace(&process.name, format_args!("loses its lease of {subscription} {}", delivery.message_id));
            process.world.count(&format!("a lease of {subscription} expired in a running process"));
            process.world.observe(|checker, _| {
                checker.lease_lost();
                Ok(())
            });
        }
    }

    /// The process died: its leases expire after their deadlines.
    pub(crate) fn expire_all(&self, process: &Process) {
        let leases = std::mem::take(&mut self.lock().leases);
        for lease in leases.into_values() {
            process.world.count(&format!("a lease of {} outlived its process", lease.subscription));
            spawn_after(lease.deadline, move || drop(lease.delivery));
        }
    }

    /// The process froze: its leases expire after their deadlines unless it thaws first.
    pub(crate) fn freeze(&self, process: &Arc<Process>) {
        let mut held = self.lock();
        held.freezes += 1;
        let freeze = held.freezes;
        for (number, lease) in &held.leases {
            let (number, process) = (*number, Arc::clone(process));
            spawn_after(lease.deadline, move || {
                let same_freeze = process.leases.lock().freezes == freeze;
                if same_freeze && process.condition() == Condition::Frozen {
                    process.world.count("a lease expired in a frozen process");
                    process.leases.expire(&process, number);
                }
            });
        }
    }
}

fn spawn_after(delay: Duration, run: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(delay).await;
        run();
    });
}
