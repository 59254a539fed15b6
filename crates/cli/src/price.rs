//! Settings about money: the table of prices, and the machine that a worker runs on.

use clipfleet_domain::cost::{Machine, Prices};
use clipfleet_service::settings::{Reader, Setting};

/// List prices. The default is that of Cloud Run worker pools in us-central1, as read between August and October 2026 at
/// <https://cloud.google.com/run/pricing>.
const PRICES: Setting = Setting {
    flag: "prices",
    env: "CLIPFLEET_PRICES",
    default: "vcpu=0.000011244,gib=0.000001235,gpu=0.0001867",
    help: "US dollars per second of a vCPU, a GiB of memory and an L4; estimates of cost are made of them \
           (default: Cloud Run worker pools, us-central1 list prices of 2026-08 to 2026-10)",
};
const MACHINE: Setting = Setting {
    flag: "machine",
    env: "CLIPFLEET_MACHINE",
    default: "vcpu=8,gib=16,gpu=0",
    help: "what one worker's machine has, to estimate the cost of clips",
};

/// Settings of whoever estimates the cost of clips.
pub(crate) const COST: &[Setting] = &[PRICES, MACHINE];
/// Settings of whoever names the machines otherwise.
pub(crate) const PRICES_ONLY: &[Setting] = &[PRICES];

/// Reads [`COST`].
pub(crate) fn cost(reader: &mut Reader<'_>) -> Option<(Prices, Machine)> {
    let prices = prices(reader);
    let machine = reader.take(&MACHINE, |text| {
        let [vcpus, gib, gpus] = amounts(text, 1_000_000.0)?;
        Ok(Machine { vcpus, gib, gpus })
    });
    prices.zip(machine)
}

/// Reads [`PRICES_ONLY`].
pub(crate) fn prices(reader: &mut Reader<'_>) -> Option<Prices> {
    reader.take(&PRICES, |text| {
        let [vcpu, gib, gpu] = amounts(text, 1.0)?.map(|dollars| dollars * 1e6);
        Ok(Prices { vcpu, gib, gpu })
    })
}

/// Three named amounts, each from nothing to `most`.
fn amounts(text: &str, most: f64) -> Result<[f64; 3], String> {
    const NAMES: [&str; 3] = ["vcpu", "gib", "gpu"];
    let wrong = |reason: String| format!("must be such as vcpu=8,gib=16,gpu=0: {reason}, got {text:?}");
    let mut found = [None; 3];
    for part in text.split(',') {
        let (name, amount) =
            part.split_once('=').ok_or_else(|| wrong(format!("{:?} is no name=number", part.trim())))?;
        let name = name.trim();
        let place = NAMES.iter().position(|known| *known == name);
        let place = place.ok_or_else(|| wrong(format!("{name:?} is none of {}", NAMES.join(", "))))?;
        let amount = amount.trim().parse().ok().filter(|amount: &f64| (0.0..=most).contains(amount));
        found[place] = Some(amount.ok_or_else(|| wrong(format!("{name} is not a number from 0 to {most}")))?);
    }
    let missing = NAMES.iter().zip(found).find(|(_, amount)| amount.is_none()).map(|(name, _)| *name);
    missing.map_or(Ok(found.map(Option::unwrap_or_default)), |name| Err(wrong(format!("{name} is missing"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_table_is_the_domains() {
        let [vcpu, gib, gpu] = amounts(PRICES.default, 1.0).unwrap().map(|dollars| dollars * 1e6);
        let Prices { vcpu: by_vcpu, gib: by_gib, gpu: by_gpu } = Prices::default();
        for (ours, theirs) in [(vcpu, by_vcpu), (gib, by_gib), (gpu, by_gpu)] {
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
        let [vcpus, gib, gpus] = amounts(MACHINE.default, 1e6).unwrap();
        assert_eq!(Machine { vcpus, gib, gpus }, Machine::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("vcpu=8,gib=16", "gpu is missing"),
            ("vcpu=8,gib=16,tpu=1", "\"tpu\" is none of"),
            ("vcpu=-1,gib=16,gpu=0", "vcpu is not a number"),
            ("8", "\"8\" is no name=number"),
        ] {
            let said = amounts(text, 100.0).unwrap_err();
            assert!(said.contains(reason) && said.contains(text), "{said}");
        }
    }
}
