//! Where an agent's HTTP is: `host:port`, `http://host:port`, `[::1]:8500`, `:8500` on this host.

/// The HTTP port where none is given.
const DEFAULT_PORT: u16 = 8500;

/// An agent's HTTP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A name or an IP, without brackets.
    pub(crate) host: String,
    /// The TCP port.
    pub(crate) port: u16,
}

/// Why a text is not such an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Another way to reach an agent.
    #[error("'{0}': only plain HTTP is supported; use http://host:port")]
    Scheme(String),
    /// No host, or no port after the colon.
    #[error("'{0}' is not an address; use host:port or http://host:port")]
    Form(String),
}

impl Endpoint {
    /// Parses an address; without a port it is 8500.
    ///
    /// # Errors
    /// [`EndpointError`] with a form that works.
    pub(crate) fn parse(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Form(text.to_owned());
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(EndpointError::Scheme(text.to_owned())),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, tail) = inner.split_once(']').ok_or_else(wrong)?;
                (
                    host,
                    if tail.is_empty() {
                        None
                    } else {
                        Some(tail.strip_prefix(':').ok_or_else(wrong)?)
                    },
                )
            }
            // More than one colon and no brackets: an IPv6 address without a port.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(h, p)| (h, Some(p))),
        };
        let host = if rest.starts_with(':') && port.is_some() { "localhost" } else { host };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| wrong())?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
        if host.is_empty() || port == 0 || host.chars().any(odd) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, want) in [
            ("127.0.0.1:8500", "127.0.0.1:8500"),
            ("http://127.0.0.1:80", "127.0.0.1:80"),
            ("http://node-1:8500/", "node-1:8500"),
            ("localhost", "localhost:8500"),
            ("[::1]:8501", "[::1]:8501"),
            ("http://[fe80::1]", "[fe80::1]:8500"),
            ("::1", "[::1]:8500"),
            (":8501", "localhost:8501"),
            ("HTTP://a", "a:8500"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|e| e.authority()), Ok(want.to_owned()), "{text}");
        }
        for text in
            ["", "http://", ":", "[]:8500", "a:b", "a:0", "a:70000", "[::1", "[::1]x", "a b", "a/b"]
        {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Form(text.into())), "{text}");
        }
        for text in ["https://a:1", "unix:///x"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Scheme(text.into())), "{text}");
        }
    }
}
