//! The slim image of a build to places that the pipeline does not know: registries, other engines.

use super::{Destination, Source, Transfer};
use crate::arguments::GlobalArguments;
use crate::commands::with_registry::Bars;
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::Selected;
use async_trait::async_trait;
use slim_build::{Carrier, NotCarried};
use slim_image::location::{Form, Location};
use slim_image::packing::Scratch;
use slim_image::{Layout, Selector, Stored};
use slim_registry::{Client, ClientSettings};
use std::fmt;
use std::sync::Arc;

/// Knows the way to each of the places.
struct Elsewhere {
    client: Client,
    scratch: Scratch,
    destinations: Vec<(String, Destination)>,
    bars: Arc<Bars>,
    outside: Outside,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.destinations.iter().map(|(text, _)| text)).finish()
    }
}

/// A carrier to these places, where there are any. That they answer is seen to before anything else is done.
///
/// # Errors
/// When one of them does not answer, or is none.
pub async fn carrier(
    global: &GlobalArguments,
    client: &ClientSettings,
    scratch: Scratch,
    places: Vec<Location>,
) -> Result<Option<Arc<dyn Carrier>>, Failure> {
    if places.is_empty() {
        return Ok(None);
    }
    let client = Client::new(client.clone());
    let mut destinations = Vec::new();
    for place in places {
        let text = place.to_string();
        let destination = Destination::at(global, place, |name| Err(super::places::no_form(&name))).await?;
        if let Destination::Registry(reference) = &destination {
            client.ping(&slim_registry::RepositoryName::of(reference).registry).await?;
        }
        destinations.push((text, destination));
    }
    let outside =
        Outside::new().map_err(|error| Failure::new(format!("install signal handlers: {error}"), 1))?;
    let bars = Arc::new(Bars::new(global.quiet));
    Ok(Some(Arc::new(Elsewhere { client, scratch, destinations, bars, outside })))
}

#[async_trait]
impl Carrier for Elsewhere {
    async fn carry(&self, layout: &Layout) -> Result<Vec<String>, NotCarried> {
        let transfer = Transfer {
            client: self.client.clone(),
            selected: Selected { is_whole: true, ..Selected::default() },
            scratch: self.scratch.clone(),
            bars: &self.bars,
            outside: &self.outside,
        };
        let place = Stored { form: Form::Layout, path: layout.path().to_owned(), selector: Selector::Only };
        let source = Source::Files(place);
        let mut told = Vec::new();
        for (text, destination) in &self.destinations {
            let carried = Box::pin(transfer.run(&source, destination)).await;
            self.bars.clear();
            carried.map_err(|Failure { message, hint, exit_code, .. }| NotCarried {
                message,
                hint,
                exit_code,
            })?;
            told.push(text.clone());
        }
        Ok(told)
    }
}
