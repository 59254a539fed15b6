//! The quotas of Cloud Run that limit a fleet, and what a fleet needs of them. All of them are per project and region.

use clipfleet_domain::cost::Instance;

/// A quota. The ids and units are those of the Cloud Quotas API for the service `run.googleapis.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// L4 of instances without zonal redundancy, which the pools of `infra/` use.
    L4,
    L4Redundant,
    Cpu,
    Memory,
}

impl Quota {
    pub(crate) const ALL: [Self; 4] = [Self::L4, Self::L4Redundant, Self::Cpu, Self::Memory];

    /// The id of the quota, by which it is requested.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::L4 => "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion",
            Self::L4Redundant => "NvidiaL4GpuAllocPerProjectRegion",
            Self::Cpu => "CpuAllocPerProjectRegion",
            Self::Memory => "MemAllocPerProjectRegion",
        }
    }

    /// What it limits, with the unit in which this program counts.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::L4 => "L4 without zonal redundancy",
            Self::L4Redundant => "L4 with zonal redundancy",
            Self::Cpu => "vCPU",
            Self::Memory => "memory, GiB",
        }
    }

    /// An amount of it, as people say it.
    pub(crate) fn amount(self, amount: f64) -> String {
        match self {
            Self::Memory => format!("{amount} GiB of memory"),
            other => format!("{amount} {}", other.what()),
        }
    }

    /// How many of the API's units are one of ours: it counts thousandths of a vCPU, and bytes.
    pub(crate) fn units(self) -> f64 {
        match self {
            Self::L4 | Self::L4Redundant => 1.0,
            Self::Cpu => 1_000.0,
            Self::Memory => 1_073_741_824.0,
        }
    }

    /// What a new project has in a region, as projects report it (2026): Google publishes only the L4 without zonal
    /// redundancy, which it grants with the first deployment.
    pub(crate) fn of_new_project(self) -> f64 {
        match self {
            Self::L4 => 3.0,
            Self::L4Redundant => 0.0,
            Self::Cpu => 20.0,
            Self::Memory => 40.0,
        }
    }
}

/// The control plane of `infra/` by default, one `clipfleet serve`: one instance with one vCPU, always on.
pub(crate) const SERVE: Instance = Instance { vcpus: 1.0, gib: 1.0, gpus: 0.0 };
/// The control plane as three services: dispatcher, status and scaler, with one vCPU each, always on.
pub(crate) const SERVICES: Instance = Instance { vcpus: 3.0, gib: 2.0, gpus: 0.0 };

/// What a fleet uses at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Need {
    l4: f64,
    l4_redundant: f64,
    vcpus: f64,
    gib: f64,
}

impl Need {
    /// What instances use that always run.
    pub(crate) fn always(instance: &Instance) -> Self {
        Self { l4: instance.gpus, l4_redundant: 0.0, vcpus: instance.vcpus, gib: instance.gib }
    }

    /// With a pool of so many instances.
    #[must_use]
    pub(crate) fn with_pool(self, instances: u32, instance: &Instance, is_redundant: bool) -> Self {
        let count = f64::from(instances);
        let gpus = count * instance.gpus;
        Self {
            l4: self.l4 + if is_redundant { 0.0 } else { gpus },
            l4_redundant: self.l4_redundant + if is_redundant { gpus } else { 0.0 },
            vcpus: self.vcpus + count * instance.vcpus,
            gib: self.gib + count * instance.gib,
        }
    }

    /// While a new revision starts, the old one still runs.
    #[must_use]
    pub(crate) fn in_rollout(self) -> Self {
        let Self { l4, l4_redundant, vcpus, gib } = self;
        Self { l4: 2.0 * l4, l4_redundant: 2.0 * l4_redundant, vcpus: 2.0 * vcpus, gib: 2.0 * gib }
    }

    /// How much of a quota that is, in its unit.
    pub(crate) fn of(self, quota: Quota) -> f64 {
        match quota {
            Quota::L4 => self.l4,
            Quota::L4Redundant => self.l4_redundant,
            Quota::Cpu => self.vcpus,
            Quota::Memory => self.gib,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L4_WORKER: Instance = Instance { vcpus: 4.0, gib: 16.0, gpus: 1.0 };

    #[test]
    fn three_l4_workers_need_more_memory_than_a_new_project_has() {
        let need = Need::always(&SERVE).with_pool(3, &L4_WORKER, false);
        let refused = |need: Need| Quota::ALL.into_iter().filter(move |quota| need.of(*quota) > quota.of_new_project());
        assert_eq!(refused(need).collect::<Vec<_>>(), [Quota::Memory]);
        let two = Need::always(&SERVE).with_pool(2, &L4_WORKER, false);
        assert_eq!(refused(two).count(), 0);
        assert_eq!(refused(two.in_rollout()).collect::<Vec<_>>(), [Quota::L4, Quota::Memory]);
    }

    #[test]
    fn a_pool_with_zonal_redundancy_needs_the_other_quota() {
        let need = Need::always(&SERVICES).with_pool(2, &L4_WORKER, true);
        assert_eq!(Quota::ALL.map(|quota| need.of(quota)), [0.0, 2.0, 11.0, 34.0]);
    }
}
