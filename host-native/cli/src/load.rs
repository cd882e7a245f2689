//! Loads the model that a command is about, and shows how far that is.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sipp::{EndpointRef, LocalDescriptor, SippClient};
use tokio::signal::ctrl_c;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::exit::Failure;
use crate::screen::escape;

/// Loads that are faster show nothing: a bar that flashes up tells nobody anything.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long Ctrl-C waits for a load to stop, so that the process does not end in the middle of it.
const GIVING_UP: Duration = Duration::from_secs(2);

/// How often the bar shows that the program lives.
const TICK: Duration = Duration::from_millis(100);

/// Steps of the bar.
const STEPS: u64 = 1000;

/// A client, and its only endpoint: the model. Requests name it, because a named endpoint says why it cannot do something.
///
/// # Errors
///
/// [`Failure::Interrupted`] after Ctrl-C, and whatever [`SippClient::add`] refuses.
pub(crate) async fn model(descriptor: LocalDescriptor, quiet: bool) -> Result<(SippClient, EndpointRef), Failure> {
    let client = SippClient::new()?;
    let bar = if quiet { ProgressBar::hidden() } else { bar(&descriptor.model) };
    let moving = bar.clone();
    // The library drops the callback when the load is over, however it ended, and with it this sender.
    let (under_way, over) = oneshot::channel::<()>();
    let progress = move |fraction: f32| {
        let _ = &under_way;
        moving.set_position((f64::from(fraction) * STEPS as f64) as u64);
    };
    let loaded = tokio::select! {
        loaded = client.add_with_progress("model", descriptor, progress) => loaded.map_err(Failure::from),
        pressed = ctrl_c() => Err(pressed.map_or_else(Failure::System, |()| Failure::Interrupted)),
        never = show_when_late(&bar) => match never {},
    };
    bar.finish_and_clear();
    if matches!(loaded, Err(Failure::Interrupted)) {
        // Whether it stopped in time or not, the process ends now.
        let _ = timeout(GIVING_UP, over).await;
    }
    loaded.map(|endpoint| (client, endpoint))
}

/// A bar that is not drawn yet.
fn bar(model: &str) -> ProgressBar {
    let name = Path::new(model).file_name().unwrap_or_default().to_string_lossy();
    let style = ProgressStyle::with_template("{spinner} loading {msg} [{bar:30}] {percent:>3} %");
    ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::hidden())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
        .with_message(escape(&name).into_owned())
}

/// Draws the bar from when the load has taken long enough, if standard error is a terminal.
async fn show_when_late(bar: &ProgressBar) -> Infallible {
    sleep(PATIENCE).await;
    // Drawn nowhere if standard error is not a terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.enable_steady_tick(TICK);
    std::future::pending().await
}
