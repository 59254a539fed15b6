//! The cost of a clip: the share of an instance that its attempt occupied, by a table of prices. This is an estimate by
//! list prices. It excludes requests, storage, start-up and idle time, which are costs of the fleet and not of a clip.

/// List prices per second of one instance of a Cloud Run worker pool; millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// One vCPU.
    pub vcpu: f64,
    /// One GiB of memory.
    pub gib: f64,
    /// One L4 without zonal redundancy.
    pub gpu: f64,
}

impl Default for Prices {
    /// List prices of Cloud Run worker pools in us-central1, read between August and October 2026 at
    /// <https://cloud.google.com/run/pricing>.
    fn default() -> Self {
        Self { vcpu: 11.244, gib: 1.235, gpu: 186.7 }
    }
}

/// The instance that a worker runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instance {
    /// vCPUs.
    pub vcpus: f64,
    /// Memory, GiB.
    pub gib: f64,
    /// GPUs.
    pub gpus: f64,
}

impl Default for Instance {
    /// The larger of the two instances that this repository deploys without a GPU.
    fn default() -> Self {
        Self { vcpus: 8.0, gib: 16.0, gpus: 0.0 }
    }
}

impl Instance {
    /// Millionths of a US dollar per second, whether busy or idle.
    pub fn price(&self, prices: &Prices) -> f64 {
        self.vcpus * prices.vcpu + self.gib * prices.gib + self.gpus * prices.gpu
    }
}

/// The price of one slot of a worker: its share of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SlotPrice(f64);

impl SlotPrice {
    /// The price of an instance, divided by its number of slots.
    pub fn of(instance: &Instance, prices: &Prices, slots: usize) -> Self {
        Self(instance.price(prices) / slots.max(1) as f64)
    }

    /// Millionths of a US dollar for `slot_ms` milliseconds of a slot.
    pub fn micro_usd(self, slot_ms: i64) -> i64 {
        (self.0 * slot_ms.max(0) as f64 / 1_000.0).round() as i64
    }
}

/// The resources that the attempt that completed a clip used. Those of earlier attempts are not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Time in a slot, milliseconds.
    pub slot_ms: i64,
    /// Bytes of the source read from storage. A block that several clips of a worker share counts only for the clip
    /// that read it first.
    pub bytes_read: i64,
    /// Bytes written to storage: clip, manifest and cover. Zero if the clip already existed.
    pub bytes_written: i64,
    /// Estimated cost of the slot, millionths of a US dollar.
    pub cost_micro_usd: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_l4_worker_costs_what_the_price_list_says() {
        let instance = Instance { vcpus: 4.0, gib: 16.0, gpus: 1.0 };
        let hour = instance.price(&Prices::default()) * 3_600.0 / 1e6;
        assert!((hour - 0.905).abs() < 0.001, "{hour}");
    }

    #[test]
    fn a_clip_costs_its_share_of_the_instance() {
        let instance = Instance { vcpus: 4.0, gib: 16.0, gpus: 1.0 };
        let alone = SlotPrice::of(&instance, &Prices::default(), 1);
        let shared = SlotPrice::of(&instance, &Prices::default(), 2);
        assert_eq!((alone.micro_usd(6_500), shared.micro_usd(6_500)), (1_634, 817));
        assert_eq!((alone.micro_usd(-5), SlotPrice::default().micro_usd(6_500)), (0, 0));
    }
}
