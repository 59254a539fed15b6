//! `clipfleet plan`: simulates a fleet for a given demand, with the decisions of the scaler and a model of the pool,
//! and prints its instances, waiting times and costs.

use crate::{
    exit::Failed,
    output,
    roles::{
        price::{self, PRICES_ONLY},
        scaling::{self, POLICY},
    },
};
use clap::{Arg, ArgAction, ArgMatches, Command, arg, value_parser};
use clipfleet_domain::cost::{Instance, Prices};
use clipfleet_scaler::{
    Policy,
    model::{Demand, Fleet, InBand, Report, run as simulate},
};
use clipfleet_service::settings::{Reader, Setting, declare_advanced, number};
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
/// Measured: 26 s of CPU time for 45 s of 1080p30, so 0.145 with four cores per slot. A vCPU is half a core.
const CPU_RATE: Setting = Setting {
    flag: "cpu-rate",
    env: "CLIPFLEET_PLAN_CPU_RATE",
    value: "RATE",
    default: "0.3",
    help: "Slot-seconds per second of a 1080p30 clip with four vCPUs per slot",
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

const GPU_INSTANCE: Instance = Instance { vcpus: 8.0, gib: 32.0, gpus: 1.0 };
const CPU_INSTANCE: Instance = Instance { vcpus: 8.0, gib: 16.0, gpus: 0.0 };

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
        .about("Simulate a fleet and its cost")
        .long_about("Simulate a fleet: instances, waiting times, utilization and monthly cost, with and without GPUs")
        .arg(required(BATCHES, "Batches per hour, at random times, all day"))
        .arg(required(CLIPS, "Clips per batch"))
        .arg(required(SECONDS, "Length of a clip, seconds of 1080p30"))
        .arg(arg!(--seed <N> "Seed of the random numbers").value_parser(value_parser!(u64)).default_value("1"))
        .arg(arg!(--json "Print JSON").action(ArgAction::SetTrue));
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
    let prices = price::prices(&mut reader);
    let (kinds, (policy, prices)) = reader.finish(gpu.zip(cpu).map(|(gpu, cpu)| [gpu, cpu]).zip(policy.zip(prices)))?;
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
    let rows = kinds.map(|kind| row(&kind, &policy, &prices, &demand, seed));
    if matches.get_flag("json") {
        let rows: serde_json::Map<_, _> = rows.iter().map(|row| (row.kind.to_owned(), row.json())).collect();
        output::line(format_args!("{}", serde_json::Value::Object(rows)));
    } else {
        print(&rows, &policy, &demand);
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
    /// How long after the day its last clip ended.
    late_hours: f64,
}

fn row(kind: &Kind, policy: &Policy, prices: &Prices, demand: &Demand, seed: u64) -> Row {
    let fleet = Fleet { slots: kind.slots, cold_start_seconds: kind.cold_start_seconds, rate: kind.rate, seed };
    let report = simulate(&fleet, demand, &mut InBand::new(Policy { slots: kind.slots, ..policy.clone() }, 0));
    let usd = report.billed_seconds * kind.instance.price(prices) / 1e6;
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
    output::line(format_args!(
        "USD are Google's list prices for instances of worker pools, from request to termination, busy or idle.\n\
         Start-up times, speeds and prices are assumptions: see clipfleet plan --help."
    ));
}
