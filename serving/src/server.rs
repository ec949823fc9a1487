//! Listens, says so, and stops in good order: no new requests after the stop signal, running answers end, then the process.

use std::future::Future;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{App, ServeConfig, ServeError, router};

/// Loads the model and serves it until `stop` is ready; then drains. Prints one line to standard output when requests can come.
pub async fn serve(
    config: ServeConfig,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let loading = config.clone();
    let app = tokio::task::spawn_blocking(move || App::load(&loading))
        .await
        .map_err(|error| ServeError::Io(std::io::Error::other(error)))??;
    let listen_error = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    if !address.ip().is_loopback() && config.api_key.is_none() {
        tracing::warn!(%address, "listening beyond this machine without an API key");
    }
    let model = app.model();
    let fingerprint = if model.fingerprint.is_empty() { "unknown" } else { &model.fingerprint };
    println!("listening on http://{address} serving {} (fingerprint {fingerprint})", model.name);
    let (stopping, stopped) = watch::channel(false);
    tokio::spawn({
        let app = app.clone();
        async move {
            stop.await;
            tracing::info!("stopping: running answers end, new requests are refused");
            app.start_draining();
            let _ = stopping.send(true);
        }
    });
    let listener = listener.tap_io(|stream| {
        // A token's event goes out at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(wait_for(stopped.clone()));
    tokio::select! {
        result = server.into_future() => result.map_err(ServeError::Io),
        () = async { wait_for(stopped).await; tokio::time::sleep(config.drain).await } => {
            tracing::warn!(secs = config.drain.as_secs(), "answers still ran at the end of the drain time");
            Ok(())
        }
    }
}

/// Waits until the stop signal came. A sender that is gone without one never stops the server.
async fn wait_for(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}
