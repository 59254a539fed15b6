//! Settings for the estimation of costs: the region, the prices, and the instance that a worker runs on.

use clipfleet_domain::cost::{DEFAULT_REGION, Instance, ListPrices, Prices, list_prices, priced_regions};
use clipfleet_service::settings::{Reader, Setting};

const PRICES: Setting = Setting {
    flag: "prices",
    env: "CLIPFLEET_PRICES",
    value: "PRICES",
    default: "vcpu=0.000011244,gib=0.000001235,gpu=0.0001867",
    help: "Prices for estimates of costs: US dollars per second of a vCPU, a GiB of memory and an L4 \
           (the default is the list price of Cloud Run worker pools in europe-west4, 2026-08 to 2026-10)",
};
/// [`PRICES`] of a command that knows the region.
const REGIONAL_PRICES: Setting = Setting {
    default: "",
    help: "US dollars per second of a vCPU, a GiB of memory and an L4 of a worker pool, such as \
           vcpu=0.000011244,gib=0.000001235,gpu=0.0001867 [default: the list prices of the region]",
    ..PRICES
};
/// The region of the fleet.
pub(crate) const REGION: Setting = Setting {
    flag: "region",
    env: "CLIPFLEET_REGION",
    value: "REGION",
    default: DEFAULT_REGION,
    help: "Region of Google Cloud",
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
/// Settings of commands that have other settings for instances, beside [`REGION`].
pub(crate) const PRICES_ONLY: &[Setting] = &[REGIONAL_PRICES];

/// Reads [`COST`].
pub(crate) fn cost(reader: &mut Reader<'_>) -> Option<(Prices, Instance)> {
    let prices = prices(reader);
    let instance = reader.take(&INSTANCE, |text| {
        let [vcpus, gib, gpus] = amounts(text, 1_000_000.0)?;
        Ok(Instance { vcpus, gib, gpus })
    });
    prices.zip(instance)
}

fn prices(reader: &mut Reader<'_>) -> Option<Prices> {
    reader.take(&PRICES, parse_prices)
}

fn parse_prices(text: &str) -> Result<Prices, String> {
    let [vcpu, gib, gpu] = amounts(text, 1.0)?.map(|dollars| dollars * 1e6);
    Ok(Prices { vcpu, gib, gpu })
}

/// A region with the prices of its worker pools.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) prices: Prices,
    /// The list prices of the region, if they are known.
    pub(crate) list: Option<ListPrices>,
}

/// Reads [`REGION`] and [`PRICES_ONLY`].
pub(crate) fn region(reader: &mut Reader<'_>) -> Option<Region> {
    let name = region_name(reader)?;
    let list = list_prices(&name);
    let prices = reader.take(&REGIONAL_PRICES, |text| match list {
        _ if !text.is_empty() => parse_prices(text),
        Some(list) => Ok(list.pool),
        None => Err(format!(
            "must be set for {name}, whose prices are not known here (only those of {}): see \
             https://cloud.google.com/run/pricing",
            priced_regions().join(", ")
        )),
    })?;
    Some(Region { name, prices, list })
}

/// Reads [`REGION`].
pub(crate) fn region_name(reader: &mut Reader<'_>) -> Option<String> {
    reader.take(&REGION, |text| {
        let valid = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        match text.trim() {
            "" => Err("must be set, for example to europe-west4".to_owned()),
            name if name.chars().all(valid) => Ok(name.to_owned()),
            name => Err(format!("must be the name of a region such as europe-west4, got {name:?}")),
        }
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
    use clipfleet_domain::cost::PRICES_READ;

    #[test]
    fn the_defaults_are_those_of_the_domain() {
        let Prices { vcpu, gib, gpu } = parse_prices(PRICES.default).unwrap();
        assert!(PRICES.help.contains(&format!("{DEFAULT_REGION}, {PRICES_READ}")), "{}", PRICES.help);
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
