//! `tally keys`: makes, lists and ends the keys that open a server.

use std::path::PathBuf;

use anyhow::Context;
use api::client::Client;
use api::{CreatedKeyAnswer, KeyAnswer, KeyRequest, KeysAnswer};
use clap::Subcommand;
use model::TimestampMs;

use super::config::resolve;
use super::server::{self, ServerArgs};
use super::{Outcome, UsageError, output};
use crate::config::Raw;
use crate::config::units::parse_duration_ms;
use crate::keys::{Draft, KeyFile, KeyFileError, KeyId, Rates, Scopes};
use crate::wiring::wall_now;

/// Make, list and revoke keys
///
/// With --url this asks that server, which needs a key with the scope admin. Without, it works on the keys
/// file of this machine; a running server takes the change within a second. With the first key a server
/// shuts: from then on every request needs one, health checks aside.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tally keys create --name shop --scope write > shop.key\n  \
    tally keys create --name page --public --rate-events 100\n  \
    TALLY_KEY_FILE=admin.key tally keys list --url https://tally.example.org\n  \
    tally keys revoke 3f9a0b1c2d4e\n\n\
    Clients send it as `Authorization: Bearer tk_…`; commands take it from --key-file or TALLY_KEY.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Where the keys are.
#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// The server to ask, instead of the file
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with the key that opens that server
    #[arg(long, value_name = "FILE", env = "TALLY_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// File with the certificates to trust, PEM [default: those that the system trusts]
    #[arg(long, value_name = "FILE", env = "TALLY_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The keys file [default: keys.json in the data folder]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    keys_file: Option<String>,
    /// The data folder [default: ./tally-data]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<String>,
    /// Settings file of the server [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make a key; its secret is printed this once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally keys create --name shop --scope write > shop.key\n  \
    tally keys create --name ops --scope read,admin --expires 90d")]
struct CreateArgs {
    /// What the key is for
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// What it may do: write, read, admin, with commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required_unless_present = "public")]
    scope: Vec<String>,
    /// It stands in web pages: it sends events and does nothing else
    #[arg(long)]
    public: bool,
    /// When it ends by itself: a time such as 2027-01-01T00:00:00Z, or a duration from now
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Events a second, instead of the server's setting
    #[arg(long, value_name = "N")]
    rate_events: Option<u64>,
    /// Requests a second, instead of the server's setting
    #[arg(long, value_name = "N")]
    rate_requests: Option<u64>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// List all keys, without their secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tally keys list")]
struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// End a key for ever
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tally keys revoke 3f9a0b1c2d4e")]
struct RevokeArgs {
    /// Its id, as `tally keys list` shows it
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Who keeps the keys.
enum Keeper {
    File(KeyFile),
    Server(Box<Client>),
}

impl PlaceArgs {
    fn keeper(&self) -> anyhow::Result<Keeper> {
        if let Some(url) = &self.url {
            let server = ServerArgs {
                url: url.clone(),
                key_file: self.key_file.clone(),
                ca_file: self.ca_file.clone(),
            };
            return Ok(Keeper::Server(Box::new(server.client()?)));
        }
        let raw = Raw {
            data_dir: self.data_dir.clone(),
            keys_file: self.keys_file.clone(),
            ..Raw::default()
        };
        let settings = resolve(self.config.as_deref(), &raw);
        let settings = settings.map_err(|error| UsageError(error.to_string()))?;
        Ok(Keeper::File(KeyFile::new(settings.keys_file)))
    }
}

pub(crate) fn run(args: &KeysArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::List(args) => list(&args.place),
        Command::Revoke(args) => revoke(args),
    }
}

fn create(args: &CreateArgs) -> anyhow::Result<Outcome> {
    let request = args.request(wall_now())?;
    let created = match args.place.keeper()? {
        Keeper::Server(client) => server::runtime()?.block_on(client.create_key(&request))?,
        Keeper::File(file) => {
            let now = wall_now();
            let (key, secret) = file.create(draft_of(&request)?, now).map_err(usage)?;
            eprintln!("in {}", file.path().display());
            CreatedKeyAnswer { secret: secret.expose().to_owned(), key: key.describe(now) }
        }
    };
    if args.place.json {
        output::print(&serde_json::to_string(&created)?)?;
        return Ok(Outcome::Good);
    }
    eprintln!(
        "the key {} may {}; keep the next line, nobody can show it again:",
        created.key.id,
        created.key.scopes.join(", ")
    );
    output::print(&created.secret)?;
    Ok(Outcome::Good)
}

impl CreateArgs {
    fn request(&self, now: TimestampMs) -> anyhow::Result<KeyRequest> {
        let expires = self.expires.as_deref().map(|text| when(text, now)).transpose()?;
        let scopes = match self.scope.as_slice() {
            [] => Scopes::WRITE.names(),
            given => given.to_vec(),
        };
        Ok(KeyRequest {
            name: self.name.clone(),
            scopes,
            public: self.public,
            expires: expires.map(|time| time.to_string()),
            rate_limit_events: self.rate_events,
            rate_limit_requests: self.rate_requests,
        })
    }
}

/// A time, or a duration from now.
fn when(text: &str, now: TimestampMs) -> Result<TimestampMs, UsageError> {
    if let Ok(millis) = parse_duration_ms(text) {
        let later = i64::try_from(millis).ok().and_then(|millis| now.0.checked_add(millis));
        let later = later.and_then(|time| TimestampMs(time).checked().ok());
        return later.ok_or_else(|| UsageError(format!("--expires {text} is too far away")));
    }
    TimestampMs::parse_rfc3339(text).map_err(|_| {
        let shape = "write a time such as 2027-01-01T00:00:00Z, or a duration from now such as 90d";
        UsageError(format!("--expires {text} cannot be read; {shape}"))
    })
}

fn draft_of(request: &KeyRequest) -> Result<Draft, UsageError> {
    let scopes = Scopes::parse(request.scopes.iter().map(String::as_str)).map_err(UsageError)?;
    let expires = request.expires.as_deref().map(TimestampMs::parse).transpose();
    Ok(Draft {
        name: request.name.clone(),
        scopes,
        is_public: request.public,
        expires: expires.map_err(|error| UsageError(error.to_string()))?,
        rates: Rates { events: request.rate_limit_events, requests: request.rate_limit_requests },
    })
}

/// What is wrong with the arguments is wrong usage.
fn usage(error: KeyFileError) -> anyhow::Error {
    match error {
        KeyFileError::Invalid(what) => UsageError(what).into(),
        error => error.into(),
    }
}

fn list(place: &PlaceArgs) -> anyhow::Result<Outcome> {
    let keys = match place.keeper()? {
        Keeper::Server(client) => server::runtime()?.block_on(client.keys())?,
        Keeper::File(file) => {
            let now = wall_now();
            KeysAnswer { keys: file.read()?.iter().map(|key| key.describe(now)).collect() }
        }
    };
    if place.json {
        output::print(&serde_json::to_string(&keys)?)?;
    } else if keys.keys.is_empty() {
        output::print("no keys: the server answers everybody who can reach it")?;
    } else {
        output::print(&table(&keys.keys))?;
    }
    Ok(Outcome::Good)
}

fn table(keys: &[KeyAnswer]) -> String {
    let mut table = output::table();
    table.set_header(["ID", "NAME", "SCOPES", "STATE", "CREATED", "EXPIRES"]);
    for key in keys {
        let public = if key.public { " (public)" } else { "" };
        table.add_row([
            key.id.clone(),
            output::visible(&key.name),
            format!("{}{public}", key.scopes.join(",")),
            key.state.as_str().to_owned(),
            key.created.clone(),
            key.expires.clone().unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    table.to_string()
}

fn revoke(args: &RevokeArgs) -> anyhow::Result<Outcome> {
    let id: KeyId = args.id.parse().map_err(|shape: &str| UsageError(shape.to_owned()))?;
    let key = match args.place.keeper()? {
        Keeper::Server(client) => server::runtime()?.block_on(client.revoke_key(&args.id))?,
        Keeper::File(file) => {
            let now = wall_now();
            let key = file.revoke(id, now)?.with_context(|| {
                let file = file.path().display();
                format!("there is no key {id} in {file}; `tally keys list` shows those there are")
            })?;
            key.describe(now)
        }
    };
    if args.place.json {
        output::print(&serde_json::to_string(&key)?)?;
    } else {
        output::print(&format!("the key {} is revoked", key.id))?;
    }
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_a_time_or_after_a_while() {
        let now = TimestampMs(1_795_255_200_000);
        assert_eq!(when("90d", now).unwrap().0, now.0 + 90 * 86_400_000);
        let named = when("2027-01-01T00:00:00Z", now).unwrap();
        assert_eq!(named.to_string(), "2027-01-01T00:00:00Z");
        assert!(when("soon", now).is_err() && when("9000000000y", now).is_err());
    }
}
