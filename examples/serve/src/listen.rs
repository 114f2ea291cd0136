//! The listener and its connections, with their limits.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use crate::Problem;
use crate::gone::{Answers, gone};
use crate::inlet::Inlet;
use crate::options::Options;
use crate::routes;
use crate::server::Server;
use crate::shutdown::{self, Phase};
use crate::socket::Socket;

/// Connections that the system has for us when the server is told to end are served, so many at most.
const BACKLOG: usize = 4096;
/// How long accepting rests when the system has no more file descriptors.
const REST: Duration = Duration::from_millis(50);

/// Serves until a signal, and then until all accepted requests have their answers: whether they have them.
pub(crate) async fn serve(server: Arc<Server>, options: &Options) -> Result<bool, Problem> {
    let address = (options.host.as_str(), options.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on {}:{}: {e}", options.host, options.port))?;
    let mut stop = pin!(shutdown::asked()?);
    println!("listening on http://{}", listener.local_addr()?);
    let (connections, alive) = Connections::new(server.clone(), options);
    loop {
        tokio::select! {
            accepted = connections.next(&listener) => match accepted {
                Ok(()) => {}
                Err(e) => {
                    tracing::warn!("a connection was not accepted: {e}");
                    sleep(REST).await;
                }
            },
            () = &mut stop => break,
        }
    }
    let again = shutdown::asked()?;
    server.phase.send_replace(Phase::Draining);
    println!("draining");
    for _ in 0..BACKLOG {
        let next = timeout(Duration::from_millis(1), connections.next(&listener));
        if !matches!(next.await, Ok(Ok(()))) {
            break;
        }
    }
    drop(listener);
    drop(connections);
    let (linger, limit) = (options.linger, options.shutdown_limit);
    Ok(shutdown::drain(&server, alive, linger, limit, again).await)
}

/// What makes tasks of connections.
struct Connections {
    server: Arc<Server>,
    routes: Router,
    room: Arc<Semaphore>,
    /// Each connection has a clone.
    alive: mpsc::Sender<()>,
    read_limit: Duration,
    write_limit: Duration,
}

impl Connections {
    fn new(server: Arc<Server>, options: &Options) -> (Self, mpsc::Receiver<()>) {
        let (alive, ends) = mpsc::channel(1);
        let room = Arc::new(Semaphore::new(options.connections.max(1)));
        let (read_limit, write_limit) = (options.read_limit, options.write_limit);
        let routes = routes::routes(server.clone());
        (Self { server, routes, room, alive, read_limit, write_limit }, ends)
    }

    /// Accepts one connection, as soon as there is room for one.
    async fn next(&self, listener: &TcpListener) -> io::Result<()> {
        let room = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        let (alive, served) = (self.alive.clone(), self.serve(stream));
        tokio::spawn(async move {
            served.await;
            drop((alive, room));
        });
        Ok(())
    }

    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + use<> {
        let metrics = &self.server.metrics;
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let (reads, writes) = stream.into_split();
        let (inlet, answers) = (Arc::new(Inlet::new(reads, &self.server.room)), Answers::default());
        let unsent = metrics.unsent.clone();
        let stream = TokioIo::new(Socket::new(inlet.clone(), writes, self.write_limit, unsent));
        let routes = TowerToHyperService::new(self.routes.clone());
        let begun = answers.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            // Due from here on. The admission takes it.
            request.extensions_mut().insert(Arc::new(begun.begin()));
            routes.call(request)
        });
        let mut phase = self.server.phase.subscribe();
        let read_limit = self.read_limit;
        let open = metrics.connections.one();
        async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(read_limit);
            // Hyper looks for the client's end only where it has no byte of a next request. `gone` always looks.
            builder.half_close(true);
            let mut connection = pin!(builder.serve_connection(stream, service));
            // What the wait gives is a lock, which is not held on.
            let closing =
                async { phase.wait_for(|phase| *phase == Phase::Closing).await.map(drop) };
            let served = async {
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    _ = closing => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            tokio::select! {
                biased;
                ended = served => if let Err(e) = ended {
                    tracing::debug!("a connection broke: {e}");
                },
                () = gone(&inlet, &answers) => {
                    tracing::debug!("a client went away before its answer");
                }
            }
            drop(open);
        }
    }
}
