//! How the pipeline's events look to a person: one line a stage on stderr, a spinner on stages over a second when
//! stderr is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slim_build::{Event, Progress, Stage};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// A stage shorter than this gets no spinner.
const SPINNER_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// Writes to stderr.
pub struct Terminal {
    quiet: bool,
    current: Arc<Mutex<Option<Current>>>,
}

struct Current {
    stage: Stage,
    doing: String,
    since: Instant,
    spinner: Option<ProgressBar>,
}

impl Terminal {
    /// `quiet`: nothing is written at all. No spinner where TERM says that the terminal cannot move its cursor.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let current = Arc::new(Mutex::new(None));
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !quiet && !is_dumb && std::io::stderr().is_terminal() {
            let watched = Arc::downgrade(&current);
            std::thread::spawn(move || spin(&watched));
        }
        Self { quiet, current }
    }

    fn write(&self, line: &str) {
        let current = self.current.lock().expect("no holder of this lock panics");
        let spinner = current.as_ref().and_then(|current| current.spinner.as_ref());
        let print = || {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        };
        match spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    fn clear(&self) {
        if let Some(Current { spinner: Some(spinner), .. }) =
            self.current.lock().expect("no holder of this lock panics").take()
        {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Terminal {
    fn tell(&self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Began(stage) => {
                *self.current.lock().expect("no holder of this lock panics") =
                    Some(Current { stage, doing: String::new(), since: Instant::now(), spinner: None });
            }
            Event::Working(stage, doing) => {
                if let Some(current) = &mut *self.current.lock().expect("no holder of this lock panics") {
                    current.stage = stage;
                    if let Some(spinner) = &current.spinner {
                        spinner.set_message(doing.clone());
                    }
                    current.doing = doing;
                }
            }
            Event::Done(stage, figures, took) => {
                self.clear();
                self.write(&format!("{stage:<10}{figures}  ({:.1} s)", took.as_secs_f64()));
            }
            Event::Line(line) => self.write(&format!("{:<10}{line}", "")),
            Event::Notice(notice) => self.write(&format!("{:<10}{notice}", "notice")),
        }
    }
}

/// Draws the spinner of the current stage once it has lasted long enough; ends with the terminal.
fn spin(watched: &Weak<Mutex<Option<Current>>>) {
    while let Some(current) = watched.upgrade() {
        if let Some(current) = &mut *current.lock().expect("no holder of this lock panics")
            && current.since.elapsed() >= SPINNER_AFTER
        {
            let (stage, doing) = (current.stage, current.doing.clone());
            current.spinner.get_or_insert_with(|| new_spinner(stage, doing)).tick();
        }
        drop(current);
        std::thread::sleep(TICK);
    }
}

fn new_spinner(stage: Stage, doing: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<9} {spinner} {msg} {elapsed}")
        .expect("the template is a constant and valid");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix(stage.to_string())
        .with_message(doing)
}
