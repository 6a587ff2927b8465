//! Small forms that several flags share: pairs, ports, commands.

use crate::failure::Failure;
use slim_engine::PublishPort;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// `NAME=VALUE`.
///
/// # Errors
/// When there is no `=`, or no name.
pub fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("understand {flag} {text}: the form is NAME=VALUE")))
}

/// Several `NAME=VALUE`; of one name the last counts.
///
/// # Errors
/// As [`pair`].
pub fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    texts.iter().map(|text| pair(flag, text).map(owned)).collect()
}

/// `1m30s`, `500ms`: numbers with units, as Go and Docker write times.
///
/// # Errors
/// When it is none, or none at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is no time: numbers with h, m, s or ms behind each, as in 1m30s".to_owned();
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(digits);
        let unit_end = behind.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let length = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * length;
        rest = behind;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

/// `PORT[-PORT][/PROTOCOL]` as the API's keys.
///
/// # Errors
/// When it is no port.
pub fn ports(flag: &str, texts: &[String]) -> Result<BTreeSet<String>, Failure> {
    let mut keys = BTreeSet::new();
    for text in texts {
        let is_published = text.contains(':');
        let ports = PublishPort::parse(text).ok().filter(|_| !is_published).ok_or_else(|| {
            Failure::usage(format!("understand {flag} {text}: the form is PORT[-PORT][/PROTOCOL]"))
        })?;
        keys.extend(ports.iter().map(PublishPort::key));
    }
    Ok(keys)
}

/// Absolute paths in a container.
///
/// # Errors
/// When one does not begin with `/`, or is `/` itself.
pub fn paths(flag: &str, texts: &[String]) -> Result<BTreeSet<String>, Failure> {
    let path = |text: &String| {
        if text.starts_with('/') && !text.contains(':') && !text.trim_end_matches('/').is_empty() {
            Ok(text.clone())
        } else {
            Err(Failure::usage(format!("understand {flag} {text}: it is no absolute path below /")))
        }
    };
    texts.iter().map(path).collect()
}

/// A JSON array or shell words.
///
/// # Errors
/// When it is neither.
pub fn command(flag: &str, text: Option<&str>) -> Result<Option<Vec<String>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let words = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!("understand {flag} {text}: not a JSON array of strings: {error}"))
        })?
    } else {
        shell_words::split(text)
            .map_err(|error| Failure::usage(format!("understand {flag} {text}: {error}")))?
    };
    Ok(Some(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_json_array_or_shell_words() {
        let words = Some(vec!["sh".to_owned(), "-c".to_owned(), "a b".to_owned()]);
        assert_eq!(command("--cmd", Some(r#"["sh", "-c", "a b"]"#)).unwrap(), words);
        assert_eq!(command("--cmd", Some("sh -c 'a b'")).unwrap(), words);
        assert_eq!(command("--cmd", Some(r#"["sh", 1]"#)).unwrap_err().exit_code, 2);
        assert_eq!(command("--cmd", Some("sh 'a")).unwrap_err().exit_code, 2);
        assert_eq!(command("--cmd", Some(" ")).unwrap(), Some(Vec::new()));
        assert_eq!(command("--cmd", None).unwrap(), None);
    }

    #[test]
    fn what_has_another_form_is_refused_with_its_flag() {
        let texts = |text: &str| vec![text.to_owned()];
        for text in ["x", "=1", ""] {
            assert!(pairs("--label", &texts(text)).unwrap_err().message.contains("--label"), "{text}");
        }
        for text in ["x", "0", "1:2", "9-8"] {
            assert!(ports("--expose", &texts(text)).unwrap_err().message.contains("--expose"), "{text}");
        }
        for text in ["a", "/", "/a:/b", ""] {
            assert!(paths("--volume", &texts(text)).unwrap_err().message.contains("--volume"), "{text}");
        }
    }

    #[test]
    fn a_range_of_ports_is_every_port_in_it() {
        let keys: Vec<String> =
            ports("--expose", &["80".to_owned(), "9000-9001/udp".to_owned()]).unwrap().into_iter().collect();
        assert_eq!(keys, ["80/tcp", "9000/udp", "9001/udp"]);
    }
}
