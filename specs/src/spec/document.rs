//! The top of a spec and the fields that every job has, as written.

use super::decode::{At, Named};
use super::reference::Ref;
use super::resolved::JobKind;
use super::schedule::{CatchUp, Overlap};
use super::secret::Secret;
use super::serve::Approval;
use super::telemetry::TelemetryWritten;
use super::units::{Bytes, Duration};
use super::written::written;
use crate::job::{AutoOr, Device, Precision};

written! {
    /// What the spec may spend. The scaling law's target, the plan's cost and the scheduler read it.
    pub(crate) struct BudgetWritten {
        /// Hours of wall time. Without it `target: {budget: true}` is an error.
        hours: Option<f64>; 0.0001 ..= 1_000_000.0,
        /// Devices that work at the same time.
        devices: u64 = "1"; 1 ..= 65_536,
        /// Price of one device for an hour, US dollars.
        usd_per_device_hour: f64 = "0"; 0.0 ..= 1_000_000.0,
    }

    /// Values for jobs that do not write their own.
    pub(crate) struct DefaultsWritten {
        /// Seed of everything random.
        seed: u64 = "1",
        /// Where tensors live.
        device: Device = "auto",
        /// Number format of matrix products.
        precision: Precision = "auto",
        /// Whether a step that runs again gives the same bits: auto is true on the CPU, where it costs nothing, and false on CUDA, where it
        /// costs speed.
        deterministic: AutoOr<bool> = "auto",
        /// Attempts after a first transient failure.
        retries: u64 = "2"; 0 ..= 100,
        /// Time that one attempt of one step may take; without it there is no limit.
        timeout: Option<Duration>,
        /// Steps of higher priority start first.
        priority: i64 = "0"; -1_000_000 ..= 1_000_000,
        /// What a step occupies while it runs.
        resources: Option<ResourcesWritten>,
    }

    /// What every job has.
    pub(crate) struct JobCommon {
        /// What the job does.
        kind: JobKind,
        /// What it is for, in your words.
        description: String = "\"\"",
        /// Jobs that must end first although nothing of theirs is read.
        after: Vec<At<String>> = "[]",
        /// Seed of everything random. Default: that of `defaults`, 1.
        seed: Option<u64>,
        /// Where tensors live. Default: that of `defaults`, auto.
        device: Option<Device>,
        /// Number format of matrix products. Default: that of `defaults`, auto.
        precision: Option<Precision>,
        /// Whether a step that runs again gives the same bits: auto is true on the CPU, where it costs nothing, and false on CUDA, where it
        /// costs speed. Default: that of `defaults`, auto.
        deterministic: Option<AutoOr<bool>>,
        /// Attempts after a first transient failure. Default: that of `defaults`, 2.
        retries: Option<u64>; 0 ..= 100,
        /// Time that one attempt of one step may take. Default: that of `defaults`, no limit.
        timeout: Option<Duration>,
        /// Steps of higher priority start first. Default: that of `defaults`, 0.
        priority: Option<i64>; -1_000_000 ..= 1_000_000,
        /// What a step occupies while it runs. Default: that of `defaults`.
        resources: Option<ResourcesWritten>,
    }

    /// What a step occupies while it runs.
    pub(crate) struct ResourcesWritten {
        /// CPU cores of each rank; 0 takes what the executor has, for all of them.
        cores: u64 = "0"; 0 ..= 65_536,
        /// Memory; without it there is no limit.
        memory: Option<Bytes>,
        /// Whether a training also runs where its estimated memory is more than this machine has; without it `apply` refuses it.
        overcommit: bool = "false",
        /// Accelerators; 0 takes one for each rank where the device is cuda.
        devices: u64 = "0"; 0 ..= 1024,
        /// Machines.
        nodes: Option<u64>; 1 ..= 65_536,
        /// Partition or queue of the cluster.
        partition: Option<String>,
        /// Wall time asked of the cluster.
        time: Option<Duration>,
        /// Account of the cluster.
        account: Option<String>,
        /// Quality of service of the cluster.
        qos: Option<String>,
    }

    /// The model that is served.
    pub(crate) struct ServeWritten {
        /// A job that makes a model, or {path: DIR}.
        model: Ref,
        /// Address and port.
        listen: At<String> = "127.0.0.1:8080",
        /// CEL expression over the newest reports about the model and about the one that is served now; where it is true the new model replaces the served one. A number is JOB.SUITE.MODEL.METRIC with .value, .low, .high (95 %) and .n; behind `previous.` it is that of the served model: has(previous.JOB) is false while none is served, and one that was measured on other data or in another way is an error. After an error nothing is promoted. better(new, old) and not_worse(new, old, margin) compare numbers by the 95 % interval of their difference. Without it every successful run's model is served.
        promote_if: Option<At<String>>,
        /// Whether a model that passes waits for `cupola approve`.
        approval: Approval = "none",
    }

    /// A schedule: when the daemon runs jobs again.
    pub(crate) struct ScheduleWritten {
        /// Five fields: minute, hour, day of month, month, day of week.
        cron: At<String>,
        /// IANA time zone.
        timezone: At<String> = "UTC",
        /// Jobs that run again, with what they need.
        jobs: Vec<At<String>>,
        /// What happens while the last firing still runs.
        overlap: Overlap = "skip",
        /// What happens with firings that were missed while no daemon ran.
        catch_up: CatchUp = "once",
        /// Each firing starts by less than this later than its slot, the same for the same slot; shorter than the time between two slots.
        jitter: At<Duration> = "0s",
        /// Whom to tell when a firing fails; without it nobody is told.
        on_failure: Option<WebhookWritten>,
        /// Whom to tell when a firing's report is worse than the one before it, by more than chance; without it nobody is told.
        on_regression: Option<WebhookWritten>,
    }

    /// Who is told, by a POST of JSON that is tried again for about a day.
    pub(crate) struct WebhookWritten {
        /// URL that gets the POST, as ${secret.NAME}: who knows it can post there.
        webhook: Secret,
        /// Key that signs each POST by the Standard Webhooks scheme, as ${secret.NAME}: `whsec_` and base64, or a text. Without it the receiver can't tell who posts.
        signing_key: Option<Secret>,
    }

    /// A judge model behind an OpenAI-compatible API.
    pub(crate) struct JudgeWritten {
        /// URL up to and with /v1.
        base_url: At<String>,
        /// Model name.
        model: String,
        /// Key, as ${secret.NAME}; without it none is sent.
        api_key: Option<Secret>,
        /// Most US dollars that one run may spend; without it there is no limit.
        max_usd: Option<f64>; 0.0 ..= 1_000_000.0,
        /// Sampling temperature.
        temperature: f64 = "0"; 0.0 ..= 2.0,
    }

    /// What stands beside the jobs.
    pub(crate) struct Top {
        /// What the spec builds, in your words.
        description: String = "\"\"",
        /// Values for jobs that do not write their own.
        defaults: DefaultsWritten = "{}",
        /// What the spec may spend.
        budget: BudgetWritten = "{}",
        /// Judge models by name.
        judges: Named<JudgeWritten>,
        /// The model that is served; without it `cupola serve` asks for one.
        serve: Option<ServeWritten>,
        /// When the daemon runs jobs again, by name.
        schedules: Named<ScheduleWritten>,
        /// Where curves go beside the state folder. Nothing of it changes a result.
        telemetry: TelemetryWritten = "{}",
    }
}
