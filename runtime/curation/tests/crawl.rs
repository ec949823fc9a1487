//! A crawl of a local site with everything that goes wrong on real ones.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cupola_curation::crawl::{Crawl, CrawlError, CrawlSummary};
use cupola_curation::read::{Cursor, FileReader, Format, Item, Limits, RawDocument, SkipReason, Statuses};

/// What the site saw.
#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<(String, Instant)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

struct Site {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// Starts the site; it lives as long as the test's process.
fn site() -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let site_seen = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&site_seen);
            std::thread::spawn(move || while serve(&stream, address, &seen).unwrap_or(false) {});
        }
    });
    Site { address, seen }
}

/// Answers one request; says whether the connection goes on.
fn serve(mut stream: &TcpStream, address: SocketAddr, seen: &Seen) -> std::io::Result<bool> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next() else { return Ok(false) };
    let path = first?.split(' ').nth(1).unwrap_or("/").to_owned();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let tries = {
        let mut paths = seen.paths.lock().unwrap();
        paths.push((path.clone(), Instant::now()));
        paths.iter().filter(|(other, _)| *other == path).count()
    };
    let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_at_once.fetch_max(now, Ordering::SeqCst);
    // An answer that the crawler cuts goes on here until the next write fails: it does not count any more.
    let is_cut = matches!(path.as_str(), "/slow" | "/huge");
    if is_cut {
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
    }
    let answered = answer(&mut stream, &path, tries, address);
    if !is_cut {
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
    }
    answered.map(|()| !is_cut)
}

fn answer(stream: &mut &TcpStream, path: &str, tries: usize, address: SocketAddr) -> std::io::Result<()> {
    let mut send = |status: &str, headers: &str, body: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    };
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    match path {
        "/robots.txt" => {
            let text = format!(
                "User-agent: *\nDisallow: /private/\nDisallow: /%7Ejoe/\nSitemap: http://{address}/map.xml\n"
            );
            send("200 OK", "Content-Type: text/plain\r\n", &text)
        }
        "/map.xml" => {
            send("200 OK", "", &format!("<urlset><url><loc>http://{address}/from-map</loc></url></urlset>"))
        }
        "/" => {
            let links = [
                "/a",
                "/A/../a#top",
                "/private/x",
                "/%7ejoe/x",
                "/loop",
                "/trap/1",
                "/slow",
                "/huge",
                "/metadata",
                "/busy",
                "/dead",
                "/noindex",
                "/away",
                "http://other.example/",
                "/self",
                "/many/9",
                "/repeat/",
                "/chunked",
            ];
            let links = links.map(|link| format!("<a href=\"{link}\">x</a>")).concat();
            send("200 OK", html, &format!("<p>Welcome</p>{links}<a rel=nofollow href=/unwanted>x</a>"))
        }
        "/loop" => send("302 Found", "Location: /loop2\r\n", ""),
        "/loop2" => send("302 Found", "Location: /loop\r\n", ""),
        "/self" => send("301 Moved Permanently", "Location: /self\r\n", ""),
        "/metadata" => send("302 Found", "Location: http://169.254.169.254/latest/\r\n", ""),
        "/away" => send("302 Found", "Location: http://localhost:1/\r\n", ""),
        "/busy" if tries == 1 => send("503 Service Unavailable", "Retry-After: 1\r\n", ""),
        "/dead" => send("404 Not Found", html, "<p>no</p>"),
        "/noindex" => send("200 OK", html, "<meta name=robots content=noindex><a href=/from-noindex>x</a>"),
        "/chunked" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n";
            write!(stream, "{head}f\r\n<p>in chunks</p\r\n1\r\n>\r\n0\r\n\r\n")
        }
        "/slow" | "/huge" => endless(stream, path),
        _ => send("200 OK", html, &format!("<p>Page {path}</p>{}", links_of(path))),
    }
}

/// An answer that comes drop by drop, or one of 5 GB.
fn endless(stream: &mut &TcpStream, path: &str) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    if path == "/slow" {
        write!(stream, "{head}\r\n")?;
        for _ in 0..600 {
            stream.write_all(b"slow ")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        return Ok(());
    }
    write!(stream, "{head}Content-Length: {}\r\n\r\n", 5_u64 << 30)?;
    let block = "huge words ".repeat(6000);
    let mut left = 5_u64 << 30;
    while left > block.len() as u64 {
        stream.write_all(block.as_bytes())?;
        left -= block.len() as u64;
    }
    Ok(())
}

/// The links of pages that go on for ever, and of one with many.
fn links_of(path: &str) -> String {
    let (folder, last) = path.rsplit_once('/').unwrap_or(("", ""));
    let number: u64 = last.parse().unwrap_or(0);
    match folder {
        "/trap" => format!("<a href=/trap/{}>x</a>", number + 1),
        "/many" => (0..number).map(|n| format!("<a href=/page-{n}/>x</a>")).collect::<Vec<_>>().concat(),
        _ if path.starts_with("/repeat") => "<a href=more/>x</a>".to_owned(),
        _ => String::new(),
    }
}

fn crawl_of(address: SocketAddr) -> Crawl {
    Crawl {
        seeds: vec![format!("http://{address}")],
        allowed_hosts: vec![address.to_string()],
        max_depth: 30,
        rate: 50.0,
        allow_private_addresses: true,
        max_alike: 20,
        max_body_bytes: 300_000,
        retry_pause: Duration::from_millis(50),
        max_retries: 1,
        body_timeout: Duration::from_secs(1),
        min_bytes_per_sec: 1_000,
        user_agent: "cupola-test/1.0 (+https://example.org/bot)".into(),
        ..Crawl::default()
    }
}

fn archived(folder: &Path, summary: &CrawlSummary) -> (BTreeMap<String, RawDocument>, Vec<SkipReason>) {
    let (mut documents, mut skips) = (BTreeMap::new(), Vec::new());
    for name in &summary.files {
        let format = Format::Warc(Statuses::Success);
        let path = folder.join(name);
        for item in FileReader::open(&path, name, format, Limits::default(), Cursor::default()).unwrap() {
            match item.unwrap() {
                Item::Document(document) => {
                    let url = document.url.clone().unwrap();
                    let path = url.splitn(4, '/').nth(3).unwrap().to_owned();
                    assert!(documents.insert(path, document).is_none(), "{url} twice");
                }
                Item::Skipped(skipped) => skips.push(skipped.reason),
            }
        }
    }
    (documents, skips)
}

#[test]
fn a_site_with_every_trap_is_crawled_politely_and_ends() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    let summary = crawl_of(site.address).run(folder.path(), &|_| true).unwrap();
    let paths = site.seen.paths.lock().unwrap().clone();
    let times = |path: &str| paths.iter().filter(|(other, _)| other == path).count();
    assert_eq!(paths[0].0, "/robots.txt");
    assert_eq!(site.seen.most_at_once.load(Ordering::SeqCst), 1, "one request at a time");
    for pair in paths.windows(2) {
        assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(15), "{pair:?} too soon");
    }
    for path in ["/private/x", "/~joe/x", "/%7Ejoe/x", "/%7ejoe/x", "/unwanted"] {
        assert_eq!(times(path), 0, "{path}");
    }
    for path in
        ["/", "/a", "/loop", "/loop2", "/slow", "/huge", "/from-map", "/from-noindex", "/self", "/dead"]
    {
        assert_eq!(times(path), 1, "{path}");
    }
    assert_eq!(times("/busy"), 2);
    let skipped = |reason: &str| summary.skipped.get(reason).copied().unwrap_or(0);
    assert_eq!(skipped("robots"), 2);
    assert_eq!(skipped("redirect_loop"), 2);
    assert_eq!(skipped("out_of_scope"), 3, "the link and two redirects");
    assert_eq!(skipped("http_status"), 1);
    assert_eq!(skipped("noindex"), 1);
    assert!(skipped("too_many_alike") >= 1 && skipped("trap") >= 1, "{summary:?}");
    assert_eq!((summary.truncated, summary.nofollow, summary.finished, summary.left), (2, 1, true, 0));
    let journal = std::fs::read_to_string(folder.path().join("crawl.journal")).unwrap();
    assert!(journal.contains("169.254.169.254"), "what was refused is named");
    let (documents, skips) = archived(folder.path(), &summary);
    assert_eq!(documents.len() as u64, summary.pages, "{:?}", documents.keys());
    assert!(skips.iter().all(|reason| *reason == SkipReason::HttpStatus), "{skips:?}");
    assert!(documents["huge"].truncated && documents["huge"].bytes < 310_000);
    assert!(documents["slow"].truncated);
    assert!(documents["chunked"].content.as_str().contains("<p>in chunks</p>"));
    let again = crawl_of(site.address).run(folder.path(), &|_| true).unwrap();
    assert_eq!(again, summary, "a finished crawl stays as it is");
}

#[test]
fn addresses_that_are_not_public_are_not_asked() {
    let site = site();
    let port = site.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let folder = tempfile::tempdir().unwrap();
        let own = Crawl {
            seeds: vec![format!("http://{host}:{port}/")],
            allowed_hosts: vec![host.to_owned(), "127.0.0.1".into()],
            allow_private_addresses: false,
            ..crawl_of(site.address)
        };
        for respect_robots in [true, false] {
            let own = Crawl { respect_robots, ..own.clone() };
            let folder = folder.path().join(respect_robots.to_string());
            let summary = own.run(&folder, &|_| true).unwrap();
            assert_eq!(summary.skipped, BTreeMap::from([("private_address".to_owned(), 1)]), "{host}");
        }
    }
    assert!(site.seen.paths.lock().unwrap().is_empty());
}

#[test]
fn fields_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = crawl_of("127.0.0.1:9".parse().unwrap());
    let field = |crawl: Crawl| match crawl.run(folder.path(), &|_| true) {
        Err(CrawlError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Crawl { user_agent: "bot/1.0".into(), ..good.clone() }), "user_agent");
    assert_eq!(field(Crawl { seeds: vec!["http://elsewhere.example/".into()], ..good.clone() }), "seeds");
    assert_eq!(field(Crawl { seeds: vec!["nonsense".into()], ..good.clone() }), "seeds");
    assert_eq!(field(Crawl { allowed_hosts: vec![], ..good.clone() }), "allowed_hosts");
    assert_eq!(field(Crawl { rate: 0.0, ..good.clone() }), "rate");
}

/// The process that the next test kills: without its variables this does nothing.
#[test]
fn child_that_is_killed() {
    let (Ok(address), Ok(folder)) = (std::env::var("CRAWL_ADDRESS"), std::env::var("CRAWL_FOLDER")) else {
        return;
    };
    let crawl = Crawl { rate: 100.0, ..crawl_of(address.parse().unwrap()) };
    crawl.run(Path::new(&folder), &|_| true).unwrap();
}

#[test]
fn a_killed_crawl_goes_on_where_it_was() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    for kill_after in [3, 9, 14] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed"])
            .env("CRAWL_ADDRESS", site.address.to_string())
            .env("CRAWL_FOLDER", folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while site.seen.paths.lock().unwrap().len() < kill_after && begin.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // A torn line, and bytes that no line speaks of.
        let append = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) {
                file.write_all(bytes).unwrap();
            }
        };
        append("crawl.journal", b"{\"is\":\"done\",\"url\":\"http");
        append("crawl-00000.warc.gz", b"\x1f\x8b\x08 torn");
    }
    let summary = crawl_of(site.address).run(folder.path(), &|_| true).unwrap();
    assert!(summary.finished);
    let (documents, skips) = archived(folder.path(), &summary);
    assert_eq!(documents.len() as u64, summary.pages);
    assert!(skips.iter().all(|reason| *reason == SkipReason::HttpStatus), "{skips:?}");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (path, _) in site.seen.paths.lock().unwrap().iter() {
        *times.entry(path.clone()).or_insert(0) += 1;
    }
    let twice = times.iter().filter(|(path, times)| {
        !["/robots.txt", "/map.xml", "/busy"].contains(&path.as_str()) && **times > 1
    });
    assert!(twice.count() <= 3, "at most the page under way of each kill: {times:?}");
    let fresh = tempfile::tempdir().unwrap();
    let whole = crawl_of(site.address).run(fresh.path(), &|_| true).unwrap();
    assert_eq!(
        archived(fresh.path(), &whole).0.keys().collect::<Vec<_>>(),
        documents.keys().collect::<Vec<_>>()
    );
    assert_eq!(
        (whole.pages, whole.responses, whole.skipped),
        (summary.pages, summary.responses, summary.skipped)
    );
}

#[test]
fn a_crawl_ends_when_it_is_told_to_and_knows_its_own_folder() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    let crawl = crawl_of(site.address);
    let part = crawl.run(folder.path(), &|progress| progress.pages < 2).unwrap();
    assert!(!part.finished && part.left > 0);
    let other = Crawl { max_depth: 1, ..crawl.clone() };
    assert!(matches!(other.run(folder.path(), &|_| true), Err(CrawlError::OtherCrawl { .. })));
    let few = Crawl { max_pages: part.pages + 1, ..crawl.clone() }.run(folder.path(), &|_| true).unwrap();
    assert_eq!((few.pages, few.finished), (part.pages + 1, false));
    let beside = |_| {
        assert!(matches!(crawl.run(folder.path(), &|_| true), Err(CrawlError::InsideRuntime)));
        let second =
            std::thread::scope(|scope| scope.spawn(|| crawl.run(folder.path(), &|_| true)).join().unwrap());
        assert!(matches!(second, Err(CrawlError::Busy { .. })), "{second:?}");
        true
    };
    assert!(crawl.run(folder.path(), &beside).unwrap().finished);
    std::fs::write(folder.path().join("crawl-00000.warc.gz"), b"").unwrap();
    assert!(matches!(crawl.run(folder.path(), &|_| true), Err(CrawlError::Io { .. })));
}
