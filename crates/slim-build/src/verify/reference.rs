//! The reference: the fat image once more, unobserved. What differs between two fat runs is not stable; what the fat
//! image does not survive (a second start, a read-only root) is not asked of the slim one.
//!
//! It goes on while the slim image is made, so that nobody waits for it.

use super::plan::Plan;
use super::trial::{self, Conduct};
use super::{read_only, without_ports};
use crate::behaviour::{Behaviour, Ending, Life};
use crate::error::BuildError;
use crate::progress::Story;
use crate::scratch::{Role, program_container};
use crate::settings::Settings;
use crate::vantage::Vantage;
use slim_engine::Engine;
use slim_image::SourceImage;
use tokio::sync::watch;

/// The reference run, while it goes on and afterwards. Any number of rounds may wait for it.
pub struct Reference {
    done: watch::Receiver<Option<Outcome>>,
    read_only: watch::Receiver<Option<Option<Life>>>,
}

/// `None`: the fat image could not be run a second time.
type Outcome = Option<Behaviour>;

impl Reference {
    /// What the fat image did, with how it lived on a read-only root.
    pub(super) async fn outcome(&self) -> Result<Outcome, BuildError> {
        let outcome = wait(&self.done).await?;
        let read_only = self.read_only().await?;
        Ok(outcome.map(|behaviour| Behaviour { read_only, ..behaviour }))
    }

    /// How the fat image lived on a read-only root; `None` where that was not tried.
    pub(super) async fn read_only(&self) -> Result<Option<Life>, BuildError> {
        wait(&self.read_only).await
    }
}

async fn wait<T: Clone>(done: &watch::Receiver<Option<T>>) -> Result<T, BuildError> {
    let gone = || BuildError::Bug("the reference run was given up".to_owned());
    let mut done = done.clone();
    // It is only gone when the whole build is.
    let outcome = done.wait_for(Option::is_some).await.map_err(|_| gone())?;
    outcome.clone().ok_or_else(gone)
}

/// A reference run: the future that does it, and where its outcome is to be had.
pub fn reference<'a>(
    engine: &'a dyn Engine,
    vantage: &'a Vantage,
    settings: &'a Settings,
    source: &'a SourceImage,
    story: &'a Story<'a>,
    plan: &'a Plan,
) -> (Reference, impl Future<Output = Result<(), BuildError>> + 'a) {
    let (sender, done) = watch::channel(None);
    let (read_only_sender, read_only_done) = watch::channel(None);
    let spec = without_ports(program_container(settings, &source.id.to_string(), Role::Reference));
    let read_only_spec = read_only(spec.clone(), None);
    let whole = async move {
        let behaviour = trial::run(engine, vantage, &spec, plan, Conduct::default()).await?.behaviour;
        let outcome = match &behaviour.ending {
            Ending::NotStarted { reason } => {
                story.notice(format!("the fat image could not be run a second time: {reason}"));
                None
            }
            _ => Some(behaviour),
        };
        sender.send_replace(Some(outcome));
        Ok::<(), BuildError>(())
    };
    let on_read_only = async move {
        let life = if plan.read_only {
            let patience = plan.read_only_within;
            Some(trial::start_only(engine, vantage, &read_only_spec, plan, patience, None).await?.0)
        } else {
            None
        };
        read_only_sender.send_replace(Some(life));
        Ok::<(), BuildError>(())
    };
    let run = async move { tokio::try_join!(whole, on_read_only).map(|_| ()) };
    (Reference { done, read_only: read_only_done }, run)
}
