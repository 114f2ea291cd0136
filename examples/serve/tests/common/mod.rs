//! A server that runs, with two small models, and a client as small as can be.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use accelerant::{DType, Dim, export::GraphBuilder};

/// `double`, which takes up to 8 rows, and `fixed`, which takes no batches.
fn models(folder: &Path) -> accelerant::Result<()> {
    let graph = GraphBuilder::new("double");
    let rows = Dim::dynamic("rows", 1..=8)?;
    let x = graph.input("x", DType::F32, [rows.clone(), Dim::from(3)])?;
    let k = graph.input("k", DType::I64, [rows, Dim::from(2)])?;
    graph.output("y", &x.affine(2.0, 0.0)?)?;
    graph.output("l", &k)?;
    graph.finish()?.save(folder.join("double.onnx"))?;
    let graph = GraphBuilder::new("fixed");
    let x = graph.input("x", DType::F32, [Dim::from(3)])?;
    graph.output("y", &x.affine(-1.0, 0.0)?)?;
    graph.finish()?.save(folder.join("fixed.onnx"))
}

pub struct Server {
    process: Child,
    /// Host and port.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        models(folder.path()).unwrap();
        let file = |name: &str| format!("{name}={}/{name}.onnx", folder.path().display());
        let mut process = Command::new(env!("CARGO_BIN_EXE_serve"))
            .args([file("double") + ",rows=1:8:8", file("fixed")])
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .env("ACCELERANT_ENGINE_CACHE", "off")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("the server ended");
        Self { address: address.to_owned(), process, _folder: folder }
    }

    /// Sends the signal that asks a process to end.
    pub fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for the end of the process, which must be a good one.
    pub fn join(mut self) {
        assert!(self.process.wait().unwrap().success());
    }

    pub fn connect(&self) -> std::io::Result<Client> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client(BufReader::new(stream)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that is kept.
pub struct Client(BufReader<TcpStream>);

pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The server closes the connection.
    pub closes: bool,
    pub headers: String,
}

impl Client {
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut headers)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let headers = headers.to_ascii_lowercase();
        let value = |name: &str| {
            let found = headers.lines().find_map(|line| line.strip_prefix(name));
            found.map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        let length = value("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Answer {
            status: headers[9..12].parse().unwrap(),
            body: String::from_utf8_lossy(&body).into_owned(),
            closes: value("connection").is_some_and(|value| value == "close"),
            headers,
        })
    }
}
