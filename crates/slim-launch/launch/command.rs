//! What is asked for: in the program's place, all arguments are the program's; under its own name, there are flags.

use crate::format::OWN_NAMES;
use crate::report::Failure;
use crate::start::Start;
use core::ffi::CStr;

/// A program that was executed by descriptor is called so by the kernel; no stand-in is.
const BY_DESCRIPTOR: [&[u8]; 2] = [b"/dev/fd/", b"/proc/self/fd/"];
const POLICY: &CStr = c"/.docker-slim/launch.policy";

const HELP: &str = "Runs a program under the tighter filter and the file rules of a policy.

Usage: launch [--policy FILE] [--] COMMAND [ARGUMENT...]
       launch --check [--policy FILE]

--policy FILE  the policy [default: /.docker-slim/launch.policy]
--check        tell what the policy holds and what this machine makes of it; run nothing
--version      tell the version of the policies that are read

The filter needs no-new-privileges (docker run --security-opt no-new-privileges) or
CAP_SYS_ADMIN, unless the policy says that the launcher is to set the former itself.
Exit codes: 125 the policy could not be applied, 126 the program cannot be run, 127 there
is none of that name, else the program's own.
";
const VERSION: &str = "docker-slim launch, policy version 1\n";

/// What to do.
pub enum Request {
    Run(Command),
    Check { policy: &'static CStr },
    Text(&'static str),
}

/// A program to become.
pub struct Command {
    pub policy: &'static CStr,
    /// `None`: the one that the policy names.
    pub program: Option<&'static CStr>,
    pub arguments: *const *const u8,
}

impl Request {
    pub fn of(start: &Start) -> Result<Self, Failure<'static>> {
        if is_stand_in(start) {
            return Ok(Self::Run(Command { policy: POLICY, program: None, arguments: start.arguments }));
        }
        let mut policy = POLICY;
        let mut checks = false;
        let mut at = 1;
        while let Some(argument) = start.argument(at) {
            match argument.to_bytes() {
                b"--help" | b"-h" => return Ok(Self::Text(HELP)),
                b"--version" => return Ok(Self::Text(VERSION)),
                b"--check" => checks = true,
                b"--policy" => {
                    at += 1;
                    policy = start.argument(at).ok_or(Failure::Usage)?;
                }
                b"--" => {
                    at += 1;
                    break;
                }
                [b'-', ..] => match argument.to_bytes_with_nul().strip_prefix(b"--policy=") {
                    Some(path) => policy = CStr::from_bytes_with_nul(path).map_err(|_| Failure::Usage)?,
                    None => return Err(Failure::Usage),
                },
                _ => break,
            }
            at += 1;
        }
        if checks {
            return Ok(Self::Check { policy });
        }
        let program = Some(start.argument(at).ok_or(Failure::Usage)?);
        Ok(Self::Run(Command { policy, program, arguments: start.arguments_from(at) }))
    }
}

fn is_stand_in(start: &Start) -> bool {
    let Some(name) = start.called_as.or_else(|| start.argument(0)) else { return false };
    let name = name.to_bytes();
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    !OWN_NAMES.contains(&last) && !BY_DESCRIPTOR.iter().any(|start| name.starts_with(start))
}
