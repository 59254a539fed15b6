//! What a clip costs: a share of a machine for as long as its attempt had a slot, by a table of prices. An estimate: list prices, without
//! requests, storage, start-up and idle time, which belong to the fleet and not to a clip.

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
    /// Cloud Run worker pools, us-central1, list prices read between August and October 2026 at <https://cloud.google.com/run/pricing>.
    fn default() -> Self {
        Self { vcpu: 11.244, gib: 1.235, gpu: 186.7 }
    }
}

/// The machine of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// vCPUs.
    pub vcpus: f64,
    /// Memory, GiB.
    pub gib: f64,
    /// GPUs.
    pub gpus: f64,
}

impl Default for Machine {
    /// The larger of the two machines that a worker of ours has without a GPU.
    fn default() -> Self {
        Self { vcpus: 8.0, gib: 16.0, gpus: 0.0 }
    }
}

impl Machine {
    /// Millionths of a US dollar per second, busy or not.
    pub fn price(&self, prices: &Prices) -> f64 {
        self.vcpus * prices.vcpu + self.gib * prices.gib + self.gpus * prices.gpu
    }
}

/// What one slot of a worker costs: its share of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SlotPrice(f64);

impl SlotPrice {
    /// A machine's price, shared among so many slots.
    pub fn of(machine: &Machine, prices: &Prices, slots: usize) -> Self {
        Self(machine.price(prices) / slots.max(1) as f64)
    }

    /// Millionths of a US dollar for so many milliseconds of a slot.
    pub fn micro_usd(self, slot_ms: i64) -> i64 {
        (self.0 * slot_ms.max(0) as f64 / 1_000.0).round() as i64
    }
}

/// What the attempt that completed a clip took. What earlier attempts took is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Time in a slot, milliseconds.
    pub slot_ms: i64,
    /// Bytes of the source read from storage. A block that clips of one worker share counts for the one that read it first.
    pub bytes_read: i64,
    /// Bytes written to storage: clip, manifest and cover. Zero for a clip that was there already.
    pub bytes_written: i64,
    /// Estimated cost of the slot, millionths of a US dollar.
    pub cost_micro_usd: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_l4_worker_costs_what_the_price_list_says() {
        let machine = Machine { vcpus: 4.0, gib: 16.0, gpus: 1.0 };
        let hour = machine.price(&Prices::default()) * 3_600.0 / 1e6;
        assert!((hour - 0.905).abs() < 0.001, "{hour}");
    }

    #[test]
    fn a_clip_costs_its_share_of_the_machine() {
        let machine = Machine { vcpus: 4.0, gib: 16.0, gpus: 1.0 };
        let alone = SlotPrice::of(&machine, &Prices::default(), 1);
        let shared = SlotPrice::of(&machine, &Prices::default(), 2);
        assert_eq!((alone.micro_usd(6_500), shared.micro_usd(6_500)), (1_634, 817));
        assert_eq!((alone.micro_usd(-5), SlotPrice::default().micro_usd(6_500)), (0, 0));
    }
}
