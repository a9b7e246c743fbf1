use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};

use super::address::{client, group};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn ranges_hold_what_they_say() {
    let range = |text: &str| text.parse::<AddressRange>();
    assert!(range("10.0.0.0/8").unwrap().contains(ip("10.255.0.1")));
    assert!(!range("10.0.0.0/8").unwrap().contains(ip("11.0.0.1")));
    assert!(range("0.0.0.0/0").unwrap().contains(ip("203.0.113.1")));
    assert!(!range("0.0.0.0/0").unwrap().contains(ip("2001:db8::1")));
    assert!(range("::/0").unwrap().contains(ip("2001:db8::1")));
    assert!(range("2001:db8::/32").unwrap().contains(ip("2001:db8:1::1")));
    assert!(range("127.0.0.1").unwrap().contains(ip("::ffff:127.0.0.1")));
    assert!(!range("127.0.0.1").unwrap().contains(ip("127.0.0.2")));
    for wrong in ["", "proxy", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
        assert!(range(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_last_address_that_is_none_of_ours_is_the_client() {
    let trusted: Vec<AddressRange> = vec!["10.0.0.0/8".parse().unwrap()];
    let of = |peer: &str, lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        client(ip(peer), &headers, &trusted)
    };
    assert_eq!(of("203.0.113.7", &["198.51.100.1"]), ip("203.0.113.7"));
    assert_eq!(of("10.0.0.1", &["198.51.100.1"]), ip("198.51.100.1"));
    assert_eq!(of("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), ip("198.51.100.1"));
    assert_eq!(of("10.0.0.1", &["1.1.1.1", "198.51.100.1"]), ip("198.51.100.1"));
    assert_eq!(of("10.0.0.1", &["1.1.1.1, nonsense"]), ip("10.0.0.1"));
    assert_eq!(of("10.0.0.1", &[]), ip("10.0.0.1"));
    assert_eq!(group(ip("2001:db8:1:2:3::4")), ip("2001:db8:1:2::"));
    assert_eq!(group(ip("::ffff:203.0.113.7")), ip("203.0.113.7"));
}

#[test]
fn origins_are_as_browsers_write_them() {
    for good in ["https://a.example", "http://localhost:3000", "*"] {
        assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
    }
    for wrong in ["", "a.example", "https://a.example/", "ftp://a.example", "https://u@a.example"] {
        assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
    }
}
