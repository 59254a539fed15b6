//! `clipfleet plan`: simulates a fleet for a given demand, with the decisions of the scaler and a model of the pool,
//! and prints its instances, waiting times and costs, and the quotas that it needs.

use crate::{
    exit::Failed,
    output::{
        self,
        table::{Align, table},
    },
    quota::{Need, Quota, SERVE, SERVICES},
    roles::{
        price::{self, PRICES_ONLY, REGION, Region},
        scaling::{self, POLICY},
    },
};
use clap::{Arg, ArgAction, ArgMatches, Command, arg, value_parser};
use clipfleet_domain::cost::{Instance, PRICES_READ};
use clipfleet_scaler::{
    Policy,
    model::{Demand, Fleet, InBand, Report, run as simulate},
};
use clipfleet_service::settings::{Reader, Setting, declare, declare_advanced, number};
use std::process::ExitCode;

const GPU_SLOTS: Setting = Setting {
    flag: "gpu-slots",
    env: "CLIPFLEET_PLAN_GPU_SLOTS",
    value: "N",
    default: "2",
    help: "Clips at once per L4, which has two encoders",
};
const CPU_SLOTS: Setting = Setting {
    flag: "cpu-slots",
    env: "CLIPFLEET_PLAN_CPU_SLOTS",
    value: "N",
    default: "2",
    help: "Clips at once per instance without a GPU",
};
/// 45 s of 1080p30 in 6.5 s, by NVIDIA's figures for preset P5, scaled to the clock of an L4. Not measured on an L4.
const GPU_RATE: Setting = Setting {
    flag: "gpu-rate",
    env: "CLIPFLEET_PLAN_GPU_RATE",
    value: "RATE",
    default: "0.144",
    help: "Slot-seconds per second of a 1080p30 clip on an L4 (default computed from NVIDIA's figures, not measured)",
};
/// Measured: 26 s of CPU time for 45 s of 1080p30, so 0.145 with four cores per slot. A vCPU is half a core, and a slot
/// has three.
const CPU_RATE: Setting = Setting {
    flag: "cpu-rate",
    env: "CLIPFLEET_PLAN_CPU_RATE",
    value: "RATE",
    default: "0.4",
    help: "Slot-seconds per second of a 1080p30 clip with three vCPUs per slot",
};
const GPU_COLD: Setting = Setting {
    flag: "gpu-cold-start-seconds",
    env: "CLIPFLEET_PLAN_GPU_COLD_START_SECONDS",
    value: "SECONDS",
    default: "30",
    help: "Seconds from requesting an instance with a GPU until it leases jobs (an assumption: Google gives no figure)",
};
const CPU_COLD: Setting = Setting {
    flag: "cpu-cold-start-seconds",
    env: "CLIPFLEET_PLAN_CPU_COLD_START_SECONDS",
    value: "SECONDS",
    default: "15",
    help: "Seconds from requesting an instance without a GPU until it leases jobs (an assumption)",
};

const GPU_INSTANCE: Instance = Instance { vcpus: 4.0, gib: 16.0, gpus: 1.0 };
const CPU_INSTANCE: Instance = Instance { vcpus: 6.0, gib: 16.0, gpus: 0.0 };

/// Hours to simulate: long enough that one unusual hour does not matter.
const HOURS: u32 = 24;
/// Hours of a month, as in Google's prices.
const MONTH_HOURS: f64 = 730.0;

// The arguments that describe the demand.
const BATCHES: &str = "batches-per-hour";
const CLIPS: &str = "clips-per-batch";
const SECONDS: &str = "clip-seconds";

pub(crate) fn command() -> Command {
    let required = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .required(true)
            .allow_negative_numbers(true)
            .help(help)
            .value_parser(value_parser!(f64))
    };
    let command = Command::new("plan")
        .about("Simulate a fleet, its cost and the quotas it needs")
        .long_about(
            "Simulate a fleet: instances, waiting times, utilization, monthly cost and the quotas that it needs, with \
             and without GPUs",
        )
        .arg(required(BATCHES, "Batches per hour, at random times, all day"))
        .arg(required(CLIPS, "Clips per batch"))
        .arg(required(SECONDS, "Length of a clip, seconds of 1080p30"))
        .arg(arg!(--seed <N> "Seed of the random numbers").value_parser(value_parser!(u64)).default_value("1"))
        .arg(arg!(--json "Print JSON").action(ArgAction::SetTrue));
    let command = declare(command, &[&[REGION]]);
    const OWN: &[Setting] = &[GPU_SLOTS, CPU_SLOTS, GPU_RATE, CPU_RATE, GPU_COLD, CPU_COLD];
    declare_advanced(command, &[OWN, POLICY, PRICES_ONLY])
        .after_help("Example:\n  clipfleet plan --batches-per-hour 20 --clips-per-batch 15 --clip-seconds 45")
}

struct Kind {
    name: &'static str,
    instance: Instance,
    slots: u32,
    rate: f64,
    cold_start_seconds: f64,
}

pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let gpu = kind(&mut reader, "gpu", GPU_INSTANCE, [&GPU_SLOTS, &GPU_RATE, &GPU_COLD]);
    let cpu = kind(&mut reader, "cpu", CPU_INSTANCE, [&CPU_SLOTS, &CPU_RATE, &CPU_COLD]);
    let policy = scaling::policy(&mut reader, 1);
    let region = price::region(&mut reader);
    let kinds = gpu.zip(cpu).map(|(gpu, cpu)| [gpu, cpu]);
    let (kinds, (policy, region)) = reader.finish(kinds.zip(policy.zip(region)))?;
    let argument = |name: &str, min: f64, max: f64| match matches.get_one::<f64>(name).copied() {
        Some(given) if (min..=max).contains(&given) => Ok(given),
        given => Err(Failed::usage(format!(
            "--{name} must be a number from {min} to {max}, got {}",
            given.map_or_else(String::new, |given| given.to_string())
        ))),
    };
    let (batches, clips) = (argument(BATCHES, 0.01, 10_000.0)?, argument(CLIPS, 1.0, 1_000.0)?.round() as usize);
    let seconds = argument(SECONDS, 0.1, 3_600.0)?;
    // A day of the largest fleets has millions of clips. A larger simulation would take too long.
    if batches * clips as f64 > 200_000.0 {
        return Err(Failed::usage(format!(
            "--{BATCHES} times --{CLIPS} must be at most 200000 clips an hour, got {}",
            batches * clips as f64
        )));
    }
    let seed = matches.get_one::<u64>("seed").copied().unwrap_or(1);
    let demand = Demand::steady(HOURS, batches, clips, seconds, seed);
    let rows = kinds.map(|kind| row(&kind, &policy, &region, &demand, seed));
    if matches.get_flag("json") {
        let mut json: serde_json::Map<_, _> = rows.iter().map(|row| (row.kind.to_owned(), row.json())).collect();
        let fixed = [SERVE, SERVICES].map(|instance| fixed_month_usd(&region, &instance));
        json.insert("region".to_owned(), region.name.clone().into());
        json.insert("fixedMonthUsd".to_owned(), serde_json::json!({"serve": fixed[0], "services": fixed[1]}));
        output::line(format_args!("{}", serde_json::Value::Object(json)));
    } else {
        print(&rows, &policy, &demand);
        print_fixed(&region);
        print_quotas(&rows, &region);
        print_sources(&region);
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(reader: &mut Reader<'_>, name: &'static str, instance: Instance, settings: [&Setting; 3]) -> Option<Kind> {
    let [slots, rate, cold] = settings;
    let slots = reader.take(slots, number(1_u32, 64));
    let rate = reader.take(rate, number(0.001, 1_000.0));
    let cold_start_seconds = reader.take(cold, number(0.0, 3_600.0));
    Some(Kind { name, instance, slots: slots?, rate: rate?, cold_start_seconds: cold_start_seconds? })
}

/// The results of one kind of pool.
struct Row {
    kind: &'static str,
    mean_instances: f64,
    most_instances: u32,
    /// Median and 95th percentile of the time until a clip has a slot, seconds.
    waits: [f64; 2],
    /// Median and 95th percentile of the time until a batch has ended, seconds.
    batches: [f64; 2],
    utilisation: f64,
    idle: f64,
    lost: f64,
    month_usd: f64,
    clip_usd: f64,
    /// The quotas that it needs with the control plane, while no rollout runs.
    need: Need,
    /// How long after the day its last clip ended.
    late_hours: f64,
}

fn row(kind: &Kind, policy: &Policy, region: &Region, demand: &Demand, seed: u64) -> Row {
    let fleet = Fleet { slots: kind.slots, cold_start_seconds: kind.cold_start_seconds, rate: kind.rate, seed };
    let report = simulate(&fleet, demand, &mut InBand::new(Policy { slots: kind.slots, ..policy.clone() }, 0));
    let usd = report.billed_seconds * kind.instance.price(&region.prices) / 1e6;
    Row {
        kind: kind.name,
        mean_instances: report.mean_instances(),
        most_instances: report.most_instances,
        waits: [0.5, 0.95].map(|part| Report::at(&report.waits_seconds, part)),
        batches: [0.5, 0.95].map(|part| Report::at(&report.batches_seconds, part)),
        utilisation: report.utilisation(kind.slots),
        idle: report.idle(),
        lost: report.lost_work(),
        month_usd: usd / (report.length_seconds / 3_600.0) * MONTH_HOURS,
        clip_usd: usd / demand.clips().max(1) as f64,
        need: Need::always(&SERVE).with_pool(report.most_instances, &kind.instance, false),
        late_hours: (report.length_seconds - demand.length_ms as f64 / 1_000.0) / 3_600.0,
    }
}

impl Row {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "meanInstances": self.mean_instances, "mostInstances": self.most_instances,
            "waitSeconds": {"p50": self.waits[0], "p95": self.waits[1]},
            "batchSeconds": {"p50": self.batches[0], "p95": self.batches[1]},
            "utilisation": self.utilisation, "idleShare": self.idle, "lostShare": self.lost,
            "monthUsd": self.month_usd, "clipUsd": self.clip_usd, "hoursBehind": self.late_hours,
            "quotas": Quota::ALL.map(|quota| self.quota_json(quota)),
        })
    }

    fn quota_json(&self, quota: Quota) -> serde_json::Value {
        serde_json::json!({
            "id": quota.id(), "what": quota.what(), "newProject": quota.of_new_project(),
            "need": self.need.of(quota), "needInRollout": self.need.in_rollout().of(quota),
        })
    }
}

fn print(rows: &[Row], policy: &Policy, demand: &Demand) {
    output::line(format_args!("{} batches with {} clips in a simulated day", demand.batches.len(), demand.clips()));
    output::line(format_args!(
        "{:6}{:>10}{:>6}{:>12}{:>10}{:>12}{:>10}{:>13}{:>8}{:>8}{:>12}{:>12}",
        "pool",
        "instances",
        "most",
        "wait p50",
        "p95",
        "batch p50",
        "p95",
        "utilisation",
        "idle",
        "lost",
        "USD/month",
        "USD/clip"
    ));
    for row in rows {
        output::line(format_args!(
            "{:6}{:>10.2}{:>6}{:>10.1} s{:>8.1} s{:>10.1} s{:>8.1} s{:>11.1} %{:>6.1} %{:>6.2} %{:>12.2}{:>12.5}",
            row.kind,
            row.mean_instances,
            row.most_instances,
            row.waits[0],
            row.waits[1],
            row.batches[0],
            row.batches[1],
            100.0 * row.utilisation,
            100.0 * row.idle,
            100.0 * row.lost,
            row.month_usd,
            row.clip_usd
        ));
    }
    for row in rows.iter().filter(|row| row.late_hours > 0.25) {
        output::line(format_args!(
            "{}: {} workers are too few: the last clip of the day ended {:.1} h after it; raise CLIPFLEET_SCALER_MAX",
            row.kind, policy.max, row.late_hours
        ));
    }
}

/// The price of a month of the control plane, whose services are always on; `None` if it is not known.
fn fixed_month_usd(region: &Region, instance: &Instance) -> Option<f64> {
    let list = region.list?;
    let second = instance.vcpus * list.service_vcpu + instance.gib * list.service_gib;
    Some(second / 1e6 * 3_600.0 * MONTH_HOURS)
}

fn print_fixed(region: &Region) {
    let usd = |instance: &Instance| {
        let price =
            fixed_month_usd(region, instance).map_or("an unknown price".to_owned(), |usd| format!("USD {usd:.2}"));
        format!("{price} ({} vCPU, {} GiB, always on)", instance.vcpus, instance.gib)
    };
    output::line(format_args!(
        "\nFixed per month, besides: the control plane,\n  \
         as one `clipfleet serve`  {}\n  as three services         {}\n\
         Not included: database, queue, storage, egress and logs.",
        usd(&SERVE),
        usd(&SERVICES)
    ));
}

/// The quotas that the largest number of instances needs, and which of them a new project does not have.
fn print_quotas(rows: &[Row; 2], region: &Region) {
    let [gpu, cpu] = rows;
    let quotas = [Quota::L4, Quota::Cpu, Quota::Memory];
    let cells = quotas.map(|quota| {
        let amounts = [gpu, cpu].map(|row| [row.need.of(quota), row.need.in_rollout().of(quota)]);
        let [[gpu, gpu_rollout], [cpu, cpu_rollout]] = amounts;
        let amounts = [quota.of_new_project(), gpu, gpu_rollout, cpu, cpu_rollout].map(|amount| amount.to_string());
        let [new, gpu, gpu_rollout, cpu, cpu_rollout] = amounts;
        [quota.what().to_owned(), new, gpu, gpu_rollout, cpu, cpu_rollout]
    });
    let number = |name| (name, Align::Right);
    let title: &str = &format!("quota in {}", region.name);
    let header = [
        (title, Align::Left),
        number("new project"),
        number("gpu pool"),
        number("in rollout"),
        number("cpu pool"),
        number("in rollout"),
    ];
    output::line(format_args!("\n{}", table(header, &cells)));
    for row in rows {
        let need = row.need.in_rollout();
        let lacking: Vec<Quota> = quotas.into_iter().filter(|quota| need.of(*quota) > quota.of_new_project()).collect();
        if lacking.is_empty() {
            output::line(format_args!("{}: a new project has enough.", row.kind));
        }
        for quota in lacking {
            output::line(format_args!("{}: request {} ({}).", row.kind, quota.amount(need.of(quota)), quota.id()));
        }
    }
    output::line(format_args!(
        "All with the control plane as one process. During a rollout, old and new instances run side by side. Request\n\
         quotas of the Cloud Run Admin API at https://console.cloud.google.com/iam-admin/quotas; `clipfleet doctor\n\
         --cloud` compares those of a project."
    ));
}

fn print_sources(region: &Region) {
    let source = match region.list {
        Some(list) if list.pool == region.prices => format!(
            "Google's list prices in {} (https://cloud.google.com/run/pricing, read {PRICES_READ})",
            region.name
        ),
        _ => "those of --prices".to_owned(),
    };
    output::line(format_args!(
        "\nPrices of instances, from request to termination, busy or idle, are\n{source}.\n\
         Start-up times, speeds and prices are assumptions: see clipfleet plan --help."
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_of_one_process_costs_a_third_of_three_services() {
        let list = clipfleet_domain::cost::list_prices("europe-west4");
        let region = Region { name: "europe-west4".into(), prices: list.unwrap().pool, list };
        let usd = [SERVE, SERVICES].map(|instance| fixed_month_usd(&region, &instance).unwrap());
        assert!((usd[0] - 52.56).abs() < 0.01 && (usd[1] - 152.42).abs() < 0.01, "{usd:?}");
    }
}
