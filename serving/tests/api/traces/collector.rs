//! A collector that keeps what it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::serve::Listener;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A collector on loopback, and all it was sent.
pub(super) struct Collector {
    pub(super) address: String,
    pub(super) got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener, address)
    }

    /// One that speaks TLS, with its certificate as PEM.
    pub(super) async fn start_tls() -> (Self, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let pair = (vec![certificate.der().clone()], key.serialize_der().try_into().unwrap());
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(pair.0, pair.1)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        (Self::serve(listener, address), certificate.pem())
    }

    fn serve<L: Listener<Addr: std::fmt::Debug>>(listener: L, address: String) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        let take =
            move |headers: HeaderMap, body: Bytes| async move { kept.lock().unwrap().push((headers, body)) };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, got }
    }

    pub(super) fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        let got = self.got.lock().unwrap();
        got.iter().map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let resources = self.messages().into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The span of a request, by its id.
    pub(super) fn of_request(&self, id: &str) -> Span {
        let is_it = |span: &Span| attributes(span).get("cupola.request_id") == Some(&json!(id));
        self.spans().into_iter().find(is_it).unwrap_or_else(|| panic!("no span of {id}"))
    }

    /// The parts of a span, by their names.
    pub(super) fn parts(&self, parent: &Span) -> BTreeMap<String, Span> {
        let parts = self.spans().into_iter().filter(|span| span.parent_span_id == parent.span_id);
        parts.map(|span| (span.name.clone(), span)).collect()
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        let found = |body: &Bytes| body.windows(text.len()).any(|window| window == text.as_bytes());
        self.got.lock().unwrap().iter().any(|(_, body)| found(body))
    }
}

/// Connections whose handshake went well.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (socket, from) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(socket).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

pub(super) fn attributes(span: &Span) -> BTreeMap<String, Value> {
    let value = |any: &Any| match any {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        Any::BoolValue(flag) => json!(flag),
        Any::ArrayValue(array) => array
            .values
            .iter()
            .map(|value| match &value.value {
                Some(Any::StringValue(text)) => json!(text),
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes
        .map(|pair| (pair.key.clone(), value(pair.value.as_ref().unwrap().value.as_ref().unwrap())))
        .collect()
}
