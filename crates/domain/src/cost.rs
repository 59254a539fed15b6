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
    /// The list prices of [`DEFAULT_REGION`].
    fn default() -> Self {
        TIER_1.pool
    }
}

/// The region that this repository deploys to by default.
pub const DEFAULT_REGION: &str = "europe-west4";

/// When the list prices were read.
pub const PRICES_READ: &str = "2026-08 to 2026-10";

/// List prices of Cloud Run in a region; millionths of a US dollar per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListPrices {
    /// Instances of worker pools.
    pub pool: Prices,
    /// One vCPU of a service whose CPU is always allocated.
    pub service_vcpu: f64,
    /// One GiB of memory of such a service.
    pub service_gib: f64,
}

/// <https://cloud.google.com/run/pricing>
const TIER_1: ListPrices =
    ListPrices { pool: Prices { vcpu: 11.244, gib: 1.235, gpu: 186.7 }, service_vcpu: 18.0, service_gib: 2.0 };
/// The same page for Singapore, as two readers quote it. A third quotes more for the vCPU and the memory of a pool.
const TIER_2: ListPrices =
    ListPrices { pool: Prices { vcpu: 13.493, gib: 1.482, gpu: 224.04 }, service_vcpu: 21.6, service_gib: 2.4 };

/// The regions whose prices are known, of those that offer L4, by their tiers
/// (<https://cloud.google.com/run/docs/locations>). No source was found for an L4 in asia-south1.
const REGIONS: [(&str, ListPrices); 5] = [
    ("europe-west4", TIER_1),
    ("europe-west1", TIER_1),
    ("us-east4", TIER_1),
    ("us-central1", TIER_1),
    ("asia-southeast1", TIER_2),
];

/// The list prices of a region, if they are known.
pub fn list_prices(region: &str) -> Option<ListPrices> {
    REGIONS.iter().find(|(name, _)| *name == region).map(|(_, prices)| *prices)
}

/// The regions that [`list_prices`] knows.
pub fn priced_regions() -> [&'static str; 5] {
    REGIONS.map(|(name, _)| name)
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
    fn the_default_prices_are_those_of_the_default_region() {
        assert_eq!(list_prices(DEFAULT_REGION).map(|prices| prices.pool), Some(Prices::default()));
        assert_eq!(list_prices("asia-south1"), None);
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
