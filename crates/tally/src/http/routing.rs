//! `/v1/admin/routing`: which partition events go to, and how that is changed.

use std::sync::Arc;

use api::{
    ProblemCode, RoutingAnswer, RoutingRequest, RoutingRule, RoutingStrategy, RoutingVersion,
};
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::ports::{ErrorKind, EventLog, PortError};
use engine::routing::Routing;
use model::limits::LIST_ROWS_MAX;
use model::{RoutingChange, RoutingTable, Rule, Strategy, Subject, TimestampMs};

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::params::Params;
use super::problem::{Failure, json};

/// Versions that are shown.
const VERSIONS_MAX: usize = 100;

/// What the paths of this resource need.
pub(super) struct RoutingPaths {
    pub(super) routing: Arc<Routing>,
    pub(super) budget: BodyBudget,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, paths: &Arc<RoutingPaths>) -> Routes {
    let handler = get(show).post(change).with_state(paths.clone());
    routes.add("/v1/admin/routing", &["GET", "POST"], handler)
}

async fn show(
    State(paths): State<Arc<RoutingPaths>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    let table = paths.routing.table()?;
    Ok(json(StatusCode::OK, &answer(&table, &**paths.routing.log())))
}

async fn change(
    State(paths): State<Arc<RoutingPaths>>,
    request: Request,
) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&paths.budget, &head.headers, body).await?;
    // On a thread of its own it goes on to its end, also when the client has gone.
    let changed = tokio::task::spawn_blocking(move || {
        let body = body.decode(encoding)?;
        let wanted: RoutingRequest = serde_json::from_slice(&body.bytes).map_err(|error| {
            let detail = format!(
                r#"the body must be like {{"rules":[{{"item":"a","strategy":"spread","over":4}}]}}: {error}"#
            );
            Failure::new(ProblemCode::InvalidJson, detail)
        })?;
        let table = publish(&paths.routing, wanted)?;
        Ok(json(StatusCode::OK, &answer(&table, &**paths.routing.log())))
    });
    match changed.await {
        Ok(response) => response,
        Err(_) => Err(Failure::new(ProblemCode::Internal, "changing the routing failed")),
    }
}

fn publish(routing: &Routing, wanted: RoutingRequest) -> Result<Arc<RoutingTable>, Failure> {
    let RoutingRequest { partitions, rules, after } = wanted;
    if partitions.is_none() && rules.is_empty() {
        return Err(Failure::new(
            ProblemCode::InvalidRouting,
            "the body must have `partitions` or `rules`",
        ));
    }
    let changes = rules.into_iter().map(change_of).collect::<Result<_, _>>()?;
    routing.change(changes, partitions, after).map_err(refused)
}

/// What the table says of a change that it does not take.
fn refused(error: PortError) -> Failure {
    let code = match error.kind {
        ErrorKind::Invalid => ProblemCode::InvalidRouting,
        ErrorKind::Conflict => ProblemCode::Conflict,
        ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Corrupt => {
            ProblemCode::Unavailable
        }
    };
    Failure::new(code, error.to_string())
}

fn change_of(rule: RoutingRule) -> Result<RoutingChange, Failure> {
    let RoutingRule { item, prefix, strategy, over, mut partitions, is_automatic, effective } =
        rule;
    if is_automatic || effective.is_some() {
        let detail = "`is_automatic` and `effective` are the server's to say";
        return Err(Failure::new(ProblemCode::InvalidRouting, detail));
    }
    let subject = match (item, prefix) {
        (Some(item), None) => Subject::Item(item),
        (None, Some(prefix)) => Subject::Prefix(prefix),
        _ => {
            return Err(Failure::new(
                ProblemCode::InvalidRouting,
                "a rule has either `item` or `prefix`",
            ));
        }
    };
    let names_partitions = !partitions.is_empty();
    partitions.sort_unstable();
    let (strategy, takes_over, takes_partitions) = match strategy {
        RoutingStrategy::None => (None, false, false),
        RoutingStrategy::Item => (Some(Strategy::Item), false, false),
        RoutingStrategy::ItemAndMinute => (Some(Strategy::ItemAndMinute), false, false),
        RoutingStrategy::Spread => {
            (Some(Strategy::Spread { over: over.unwrap_or_default() }), true, false)
        }
        RoutingStrategy::Pinned => (Some(Strategy::Pinned { partitions }), false, true),
        RoutingStrategy::Dedicated => (Some(Strategy::Dedicated { partitions }), false, true),
    };
    if (over.is_some(), names_partitions) != (takes_over, takes_partitions) {
        let detail = "`over` comes with the strategy `spread`, and `partitions` with `pinned` and \
                      `dedicated`";
        return Err(Failure::new(ProblemCode::InvalidRouting, detail));
    }
    let rule = strategy.map(|strategy| Rule { strategy, is_automatic: false });
    Ok(RoutingChange { subject, rule })
}

fn answer(table: &RoutingTable, log: &dyn EventLog) -> RoutingAnswer {
    let newest = table.newest();
    let rules = table.rules();
    let newest_first = (1..=table.version()).rev().zip(table.versions().iter().rev());
    RoutingAnswer {
        version: table.version(),
        effective: told(newest.effective),
        partitions: newest.partitions,
        log_partitions: log.partitions(),
        rules_total: rules.len() as u64,
        rules: rules.iter().take(LIST_ROWS_MAX).map(rule_answer).collect(),
        versions: newest_first.take(VERSIONS_MAX).map(version_answer).collect(),
    }
}

fn version_answer((number, version): (u32, &model::RoutingVersion)) -> RoutingVersion {
    RoutingVersion {
        version: number,
        published: told(version.published),
        effective: told(version.effective),
        partitions: version.partitions,
        changes: version.changes.len() as u64,
    }
}

fn rule_answer((subject, rule, effective): &(Subject, &Rule, TimestampMs)) -> RoutingRule {
    let (item, prefix) = match subject {
        Subject::Item(item) => (Some(item.clone()), None),
        Subject::Prefix(prefix) => (None, Some(prefix.clone())),
    };
    let (strategy, over) = match &rule.strategy {
        Strategy::Item => (RoutingStrategy::Item, None),
        Strategy::ItemAndMinute => (RoutingStrategy::ItemAndMinute, None),
        Strategy::Spread { over } => (RoutingStrategy::Spread, Some(*over)),
        Strategy::Pinned { .. } => (RoutingStrategy::Pinned, None),
        Strategy::Dedicated { .. } => (RoutingStrategy::Dedicated, None),
    };
    RoutingRule {
        item,
        prefix,
        strategy,
        over,
        partitions: rule.strategy.named().to_vec(),
        is_automatic: rule.is_automatic,
        effective: told(*effective),
    }
}

/// A time of the table; none where it is that of the first version.
fn told(time: TimestampMs) -> Option<String> {
    (time.0 > i64::MIN).then(|| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(body: &str) -> Result<RoutingChange, ProblemCode> {
        let rule: RoutingRule = serde_json::from_str(body).map_err(|_| ProblemCode::InvalidJson)?;
        change_of(rule).map_err(|failure| failure.code())
    }

    #[test]
    fn a_rule_is_for_one_subject_and_has_what_its_strategy_takes() {
        let item = |rule: Option<Strategy>| RoutingChange {
            subject: Subject::Item("a".into()),
            rule: rule.map(|strategy| Rule { strategy, is_automatic: false }),
        };
        for (body, expected) in [
            (r#"{"item":"a","strategy":"none"}"#, None),
            (r#"{"item":"a","strategy":"item"}"#, Some(Strategy::Item)),
            (r#"{"item":"a","strategy":"item_and_minute"}"#, Some(Strategy::ItemAndMinute)),
            (r#"{"item":"a","strategy":"spread","over":4}"#, Some(Strategy::Spread { over: 4 })),
            (
                r#"{"item":"a","strategy":"pinned","partitions":[3,1]}"#,
                Some(Strategy::Pinned { partitions: vec![1, 3] }),
            ),
        ] {
            assert_eq!(change(body), Ok(item(expected)), "{body}");
        }
        for body in [
            r#"{"strategy":"item"}"#,
            r#"{"item":"a","prefix":"b","strategy":"item"}"#,
            r#"{"item":"a","strategy":"spread"}"#,
            r#"{"item":"a","strategy":"item","over":4}"#,
            r#"{"item":"a","strategy":"dedicated"}"#,
            r#"{"item":"a","strategy":"none","partitions":[1]}"#,
            r#"{"item":"a","strategy":"spread","over":4,"partitions":[1]}"#,
            r#"{"item":"a","strategy":"item","is_automatic":true}"#,
        ] {
            assert_eq!(change(body), Err(ProblemCode::InvalidRouting), "{body}");
        }
        assert_eq!(change(r#"{"item":"a","strategy":"best"}"#), Err(ProblemCode::InvalidJson));
    }

    #[test]
    fn a_table_is_told_with_its_newest_versions_first() {
        let table = RoutingTable::first(4);
        let published = TimestampMs(1_795_255_200_000);
        let effective = table.earliest(published);
        let changes = vec![RoutingChange {
            subject: Subject::Prefix("c/".into()),
            rule: Some(Rule {
                strategy: Strategy::Dedicated { partitions: vec![3] },
                is_automatic: false,
            }),
        }];
        let version = model::RoutingVersion { published, effective, partitions: 4, changes };
        let table = table.with(version).expect("it follows");
        let told = version_answer((2, table.newest()));
        assert_eq!(told.effective.as_deref(), Some("2026-11-21T10:01:30.001Z"));
        assert_eq!((told.version, told.changes), (2, 1));
        let rules: Vec<_> = table.rules().iter().map(rule_answer).collect();
        assert_eq!(rules[0].prefix.as_deref(), Some("c/"));
        assert_eq!(
            (rules[0].strategy, rules[0].partitions.as_slice()),
            (RoutingStrategy::Dedicated, &[3][..])
        );
        assert_eq!(version_answer((1, &table.versions()[0])).effective, None);
    }
}
