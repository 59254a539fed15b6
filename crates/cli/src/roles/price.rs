//! Settings for the estimation of costs: the table of prices, and the instance that a worker runs on.

use clipfleet_domain::cost::{Instance, Prices};
use clipfleet_service::settings::{Reader, Setting};

/// List prices. The defaults are those of Cloud Run worker pools in us-central1, read between August and October 2026
/// at <https://cloud.google.com/run/pricing>.
const PRICES: Setting = Setting {
    flag: "prices",
    env: "CLIPFLEET_PRICES",
    value: "PRICES",
    default: "vcpu=0.000011244,gib=0.000001235,gpu=0.0001867",
    help: "Prices for estimates of costs: US dollars per second of a vCPU, a GiB of memory and an L4 \
           (the default is the list price of Cloud Run worker pools in us-central1, 2026-08 to 2026-10)",
};
const INSTANCE: Setting = Setting {
    flag: "machine",
    env: "CLIPFLEET_MACHINE",
    value: "RESOURCES",
    default: "vcpu=8,gib=16,gpu=0",
    help: "Resources of one worker's instance, to estimate the cost of clips",
};

/// Settings of commands that estimate the cost of clips.
pub(crate) const COST: &[Setting] = &[PRICES, INSTANCE];
/// Settings of commands that have other settings for instances.
pub(crate) const PRICES_ONLY: &[Setting] = &[PRICES];

/// Reads [`COST`].
pub(crate) fn cost(reader: &mut Reader<'_>) -> Option<(Prices, Instance)> {
    let prices = prices(reader);
    let instance = reader.take(&INSTANCE, |text| {
        let [vcpus, gib, gpus] = amounts(text, 1_000_000.0)?;
        Ok(Instance { vcpus, gib, gpus })
    });
    prices.zip(instance)
}

/// Reads [`PRICES_ONLY`].
pub(crate) fn prices(reader: &mut Reader<'_>) -> Option<Prices> {
    reader.take(&PRICES, |text| {
        let [vcpu, gib, gpu] = amounts(text, 1.0)?.map(|dollars| dollars * 1e6);
        Ok(Prices { vcpu, gib, gpu })
    })
}

/// Parses three named amounts, each from 0 to `max`.
fn amounts(text: &str, max: f64) -> Result<[f64; 3], String> {
    const NAMES: [&str; 3] = ["vcpu", "gib", "gpu"];
    let invalid = |reason: String| format!("must have the form vcpu=8,gib=16,gpu=0: {reason}, got {text:?}");
    let mut found = [None; 3];
    for part in text.split(',') {
        let (name, amount) =
            part.split_once('=').ok_or_else(|| invalid(format!("{:?} is not name=number", part.trim())))?;
        let name = name.trim();
        let index = NAMES.iter().position(|known| *known == name);
        let index = index.ok_or_else(|| invalid(format!("{name:?} is none of {}", NAMES.join(", "))))?;
        let amount = amount.trim().parse().ok().filter(|amount: &f64| (0.0..=max).contains(amount));
        found[index] = Some(amount.ok_or_else(|| invalid(format!("{name} is not a number from 0 to {max}")))?);
    }
    let missing = NAMES.iter().zip(found).find(|(_, amount)| amount.is_none()).map(|(name, _)| *name);
    missing.map_or(Ok(found.map(Option::unwrap_or_default)), |name| Err(invalid(format!("{name} is missing"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_domain() {
        let [vcpu, gib, gpu] = amounts(PRICES.default, 1.0).unwrap().map(|dollars| dollars * 1e6);
        let Prices { vcpu: by_vcpu, gib: by_gib, gpu: by_gpu } = Prices::default();
        for (ours, theirs) in [(vcpu, by_vcpu), (gib, by_gib), (gpu, by_gpu)] {
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
        let [vcpus, gib, gpus] = amounts(INSTANCE.default, 1e6).unwrap();
        assert_eq!(Instance { vcpus, gib, gpus }, Instance::default());
    }

    #[test]
    fn an_invalid_value_is_refused_with_its_reason() {
        for (text, reason) in [
            ("vcpu=8,gib=16", "gpu is missing"),
            ("vcpu=8,gib=16,tpu=1", "\"tpu\" is none of"),
            ("vcpu=-1,gib=16,gpu=0", "vcpu is not a number"),
            ("8", "\"8\" is not name=number"),
        ] {
            let error = amounts(text, 100.0).unwrap_err();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
