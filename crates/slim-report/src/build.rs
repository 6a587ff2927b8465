//! What `docker-slim build` or `profile` did, in figures.

use crate::contract::ContractReport;
use crate::size::{factor, human};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the report that this code writes.
pub const VERSION: u32 = 1;

/// The report of one build, or of one profile, which makes no image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildReport {
    pub version: u32,
    /// `docker-slim` and its version.
    pub generator: String,
    pub command: String,
    pub source: ImageReport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim: Option<ImageReport>,
    /// Source size divided by slim size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    pub observation: ObservationReport,
    pub exercise: ExerciseReport,
    pub keep: KeepReport,
    pub policy: PolicyReport,
    #[serde(default)]
    pub contract: ContractReport,
    pub verification: VerificationReport,
    pub stages: Vec<StageReport>,
    /// Where the slim image was written besides the engine, as `--output` named it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// The folder with the artifacts, and the files' names in it.
    pub artifacts_folder: PathBuf,
    pub artifacts: Vec<String>,
    pub notices: Vec<String>,
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageReport {
    pub names: Vec<String>,
    /// Digest of the image's config, `sha256:…`.
    pub id: String,
    /// Bytes, as the engine counts them.
    pub size: u64,
    /// Files, directories and links.
    pub entries: usize,
}

/// What was watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObservationReport {
    /// Whether all this was read from a trace made before (`--from-trace`).
    #[serde(default)]
    pub from_trace: bool,
    pub processes: usize,
    /// Paths touched, whether they exist or not.
    pub paths: usize,
    /// Distinct system calls of the program, all processes together.
    pub system_calls: usize,
    /// Ports listened on, `tcp/8000`.
    pub listening: Vec<String>,
    /// Exit code of the program after it was stopped; `None` where the engine did not tell.
    pub exit_code: Option<i64>,
    /// Whether the program ended without being stopped.
    pub ended_by_itself: bool,
    /// What the steps of the exercise say of what was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<UnseenReport>,
    /// How often the observation was repeated because the sensor lost events.
    pub repeated: u32,
}

/// What was not seen, as far as that can be told from what was (Chao's estimate of unseen species).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenReport {
    /// Requests and commands.
    pub steps: u32,
    /// Files opened by the start, and by then with each step.
    pub curve: Vec<usize>,
    /// Files that the exercise opened and the start had not.
    pub of_the_exercise: usize,
    /// Of them, those that one step opened, and two.
    pub in_one_step: usize,
    pub in_two_steps: usize,
    /// About so many more files would turn up.
    pub more: u64,
}

/// What drove the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExerciseReport {
    pub http: Option<HttpReport>,
    pub exec: Vec<ExecReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_exec: Vec<ExecReport>,
}

/// The HTTP probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpReport {
    pub requests: usize,
    /// Answers with a status below 500.
    pub answers_below_500: usize,
    pub failures: usize,
}

/// One command run inside the container, or on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecReport {
    pub command: String,
    pub exit_code: i64,
}

/// What was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeepReport {
    pub files: usize,
    pub directories: usize,
    pub links: usize,
    /// Bytes of regular files, each inode once.
    pub bytes: u64,
    /// Entries by kind of reason; one entry may have several.
    pub reasons: BTreeMap<String, usize>,
    #[serde(default)]
    pub shares: SharesReport,
}

/// Why the bytes are there, each file once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharesReport {
    /// Touched while the program was watched.
    pub seen: u64,
    /// What must follow from that: libraries, interpreters, what the configuration and flags name.
    pub needed: u64,
    /// What kept files can reach.
    pub reachable: u64,
    /// What the fat image has more.
    pub removed: u64,
    /// The biggest kept files that were never touched, with their bytes.
    pub untouched: Vec<(String, u64)>,
}

impl SharesReport {
    /// Lines of the summary.
    fn told(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} seen in use, {} needed by that, {} within reach; {} removed",
            human(self.seen),
            human(self.needed),
            human(self.reachable),
            human(self.removed)
        )];
        if !self.untouched.is_empty() {
            let named: Vec<String> =
                self.untouched.iter().map(|(path, bytes)| format!("{path} ({})", human(*bytes))).collect();
            lines.push(format!("biggest kept and never touched: {}", named.join(", ")));
        }
        lines
    }
}

/// What the slim image may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyReport {
    /// How much the seccomp profile allows: `strict`, `balanced` or `broad`.
    #[serde(default)]
    pub seccomp_mode: String,
    /// System calls that the seccomp profile allows.
    pub system_calls_allowed: usize,
    /// What each mode would allow, beside Docker's default profile.
    #[serde(default)]
    pub system_calls_by_mode: ModesReport,
    /// Whether all that the kept programs can do is known from their machine code; `None` where it was not looked at.
    #[serde(default)]
    pub possible_is_complete: Option<bool>,
    /// Calls that are feared, each allowed or blocked.
    #[serde(default)]
    pub dangerous: Vec<DangerousReport>,
    /// Calls that were made while the program started and not after.
    #[serde(default)]
    pub system_calls_only_startup: Vec<String>,
    /// Calls that were made while it was exercised or stopped.
    #[serde(default)]
    pub system_calls_serving: Vec<String>,
    /// Calls that only entrypoint scripts and helpers made, before the last exec of the container's first process.
    #[serde(default)]
    pub system_calls_only_before_entrypoint: Vec<String>,
    /// Of them, those that the program made; the others are the runtime's, the kernel's and stand-ins.
    pub system_calls_made: usize,
    /// Calls of the program that were refused each time, and are.
    pub system_calls_refused: Vec<String>,
    /// Calls without a name, which no profile can allow.
    pub system_calls_inexpressible: Vec<String>,
    /// Runtimes whose calls are in the profile, with their versions.
    pub runtimes: Vec<String>,
    /// Runtimes that could not be traced, with why: a container may not start there under the profile.
    pub runtimes_left_out: String,
    /// File names among the artifacts.
    pub seccomp_profile: String,
    pub apparmor_profile: String,
    /// Options of `docker run` with which the image may run as well.
    pub run_options: Vec<String>,
    /// What is taken away when the entrypoint hands over to the program that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<LauncherReport>,
}

/// `docker-slim launch` in the image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LauncherReport {
    /// The path that it stands at, instead of the program that stays.
    pub place: String,
    /// What it runs.
    pub program: String,
    /// System calls that are allowed from there on; `None`: no filter is installed.
    pub system_calls_allowed: Option<usize>,
    /// Calls that the container's profile allows, and the launcher takes away.
    pub system_calls_taken_away: Vec<String>,
    /// Landlock's rules; `None`: none are applied.
    pub file_rules: Option<usize>,
}

impl PolicyReport {
    /// The profile's mode beside the others.
    fn modes_told(&self) -> String {
        let ModesReport { observed, strict, balanced, broad, engine_default } = self.system_calls_by_mode;
        format!(
            "seccomp {}; {observed} calls seen, strict allows {strict}, balanced {balanced}, broad {broad}, Docker {engine_default}",
            self.seccomp_mode
        )
    }
}

/// Numbers of system calls that may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModesReport {
    /// What the program was seen to make.
    pub observed: usize,
    pub strict: usize,
    pub balanced: usize,
    pub broad: usize,
    /// Docker's default profile, of the calls that programs of this machine can make.
    pub engine_default: usize,
}

/// What becomes of a system call that is feared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DangerousReport {
    pub system_call: String,
    pub allowed: bool,
    pub why: String,
}

/// Whether the slim image does what the fat one did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerificationReport {
    pub result: VerificationResult,
    /// Requests whose answers were compared.
    pub requests: usize,
    /// Of them, those whose bodies differ between two runs of the fat image: status and type were compared.
    pub unstable_requests: usize,
    /// Commands whose exit code and output were compared.
    pub commands: usize,
    /// Commands of `--verify-cmd` that succeeded.
    #[serde(default)]
    pub host_commands: usize,
    /// Whether a second start of the same container was compared.
    #[serde(default)]
    pub second_start: bool,
    /// Whether a start with a read-only root was compared.
    #[serde(default)]
    pub read_only_start: bool,
    /// What the slim image does otherwise, where it got its name all the same (`--verify=report`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// What each round of repair added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<RoundReport>,
    /// In words, for the summary.
    pub told: String,
}

/// One round of repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundReport {
    /// From 1.
    pub round: u32,
    /// Differences that the slim image before it showed.
    pub differences: usize,
    /// Paths that it had looked for, as its program named them; what they need came with them.
    pub paths: Vec<String>,
    /// Calls that it had been refused.
    pub system_calls: Vec<String>,
}

impl VerificationReport {
    /// A report that says nothing but its result.
    #[must_use]
    pub fn new(result: VerificationResult) -> Self {
        Self {
            result,
            requests: 0,
            unstable_requests: 0,
            commands: 0,
            host_commands: 0,
            second_start: false,
            read_only_start: false,
            differences: Vec::new(),
            rounds: Vec::new(),
            told: String::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationResult {
    /// It ran under its seccomp profile and did what the fat one did.
    Passed,
    /// It does something else, and got its name all the same (`--verify=report`).
    Different,
    /// `--verify=off`: it has not been run.
    Off,
    /// No image was made.
    NoImage,
}

/// How long a stage took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageReport {
    pub stage: String,
    pub milliseconds: u64,
}

impl BuildReport {
    /// The last lines that a person reads.
    #[must_use]
    pub fn summary(&self) -> String {
        let source =
            format!("{} {}", self.source.names.first().unwrap_or(&self.source.id), human(self.source.size));
        let mut lines = vec![match &self.slim {
            Some(slim) => format!(
                "{source} → {} {}, {:.1} times smaller, {} files",
                if slim.names.is_empty() { slim.id.clone() } else { slim.names.join(", ") },
                human(slim.size),
                factor(self.source.size, slim.size),
                self.keep.files
            ),
            None if self.command == "harden" => format!("{source}: hardened, the image is as it was"),
            None => format!("{source}: {} files would be kept", self.keep.files),
        }];
        let allowed = format!("{} system calls allowed", self.policy.system_calls_allowed);
        lines.push(match self.verification.result {
            VerificationResult::NoImage => allowed,
            _ => format!("{allowed}; verification: {}", self.verification.told),
        });
        lines.push(self.policy.modes_told());
        lines.extend(self.contract.lines());
        lines.extend(self.keep.shares.told());
        if let Some(unseen) = self.observation.unseen.as_ref().filter(|unseen| unseen.more > 0) {
            let files = if unseen.more == 1 { "file" } else { "files" };
            lines.push(format!(
                "about {} more {files} would turn up in a longer exercise: of {} that it opened, {} came in one of {} steps only",
                unseen.more, unseen.of_the_exercise, unseen.in_one_step, unseen.steps
            ));
        }
        if !self.outputs.is_empty() {
            lines.push(format!("written to: {}", self.outputs.join(", ")));
        }
        if !self.artifacts.is_empty() {
            lines.push(format!("artifacts: {}", self.artifacts_folder.display()));
        }
        lines.join("\n")
    }
}
