use std::collections::BTreeSet;

use super::*;

static ASSETS: &[Asset] = &[
    Asset { name: "index.html", hash: "01", plain: b"<!doctype html>", gzip: Some(b"zipped") },
    Asset { name: "app-AB.js", hash: "02", plain: b"script", gzip: Some(b"short") },
    Asset { name: "icon-CD.svg", hash: "03", plain: b"<svg/>", gzip: None },
];

const DASHBOARD: Dashboard = Dashboard { assets: ASSETS };

fn asked(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn text(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

async fn body(response: Response) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()
}

#[tokio::test]
async fn a_page_is_guarded_and_asked_for_again() {
    let page = DASHBOARD.page(&asked(&[("accept-encoding", "br;q=1.0, gzip;q=0.8")]));
    assert_eq!(page.status(), StatusCode::OK);
    let policy = text(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "));
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-encoding", "gzip"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
        ("etag", "\"01-gzip\""),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(text(&page, name), value, "{name}");
    }
    assert_eq!(body(page).await, b"zipped");
}

#[tokio::test]
async fn a_client_without_gzip_gets_plain_bytes() {
    for accepted in ["", "br", "gzip;q=0", "gzip; q=0.0, br", "xgzip", "gzip;q=much"] {
        let page = DASHBOARD.page(&asked(&[("accept-encoding", accepted)]));
        assert_eq!(text(&page, "content-encoding"), "", "{accepted}");
        assert_eq!(text(&page, "etag"), "\"01\"");
        assert_eq!(body(page).await, b"<!doctype html>");
    }
}

#[tokio::test]
async fn files_are_kept_for_ever_and_known_ones_not_sent_again() {
    let script = DASHBOARD.asset("app-AB.js", &asked(&[("accept-encoding", "gzip")])).unwrap();
    assert_eq!(text(&script, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(text(&script, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(body(script).await, b"short");
    let icon = DASHBOARD.asset("icon-CD.svg", &asked(&[("accept-encoding", "gzip")])).unwrap();
    assert_eq!(text(&icon, "content-type"), "image/svg+xml");
    assert_eq!(body(icon).await, b"<svg/>");
    for (known, status) in [
        ("\"02\"", StatusCode::NOT_MODIFIED),
        ("\"x\", W/\"02\"", StatusCode::NOT_MODIFIED),
        ("*", StatusCode::NOT_MODIFIED),
        // The tag of other bytes.
        ("\"02-gzip\"", StatusCode::OK),
        ("02", StatusCode::OK),
    ] {
        let answer = DASHBOARD.asset("app-AB.js", &asked(&[("if-none-match", known)])).unwrap();
        assert_eq!(answer.status(), status, "{known}");
        assert_eq!(text(&answer, "etag"), "\"02\"");
        assert_eq!(body(answer).await.is_empty(), status == StatusCode::NOT_MODIFIED);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for name in ["app-OLD.js", "index.html", "../Cargo.toml", ""] {
        let failure = DASHBOARD.asset(name, &HeaderMap::new()).unwrap_err();
        assert_eq!(failure.code(), ProblemCode::NotFound, "{name}");
    }
}

#[tokio::test]
async fn without_a_built_dashboard_the_page_says_how_to_build_it() {
    let page = Dashboard { assets: &[] }.page(&HeaderMap::new());
    assert_eq!(page.status(), StatusCode::OK);
    assert!(text(&page, "content-security-policy").contains("default-src 'none'"));
    let page = String::from_utf8(body(page).await).unwrap();
    assert!(page.contains("make serve") && !page.contains("<script"), "{page}");
}

#[test]
fn what_was_built_is_whole() {
    if BUILT.is_empty() {
        return; // a checkout in which nothing was built
    }
    let names: BTreeSet<&str> = BUILT.iter().map(|asset| asset.name).collect();
    let index = Dashboard { assets: BUILT }.find(INDEX).unwrap();
    let page = std::str::from_utf8(index.plain).unwrap();
    let named: Vec<&str> =
        page.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.len() >= 3, "a script, a style and an icon: {named:?}");
    for name in named {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    for asset in BUILT {
        assert_ne!(content_type(asset.name), "application/octet-stream", "{}", asset.name);
        let Some(gzip) = asset.gzip else { continue };
        let mut plain = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(gzip);
        std::io::Read::read_to_end(&mut reader, &mut plain).unwrap();
        assert_eq!(plain, asset.plain, "{} and its compressed form", asset.name);
    }
}
