//! Looks at the groups that are due, in one transaction: what they say goes into the outbox, and what was told is noted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use rusqlite::{Connection, Transaction, params};
use smol_str::SmolStr;

use crate::{
    alert::{
        Alert, AlertState,
        route::{self, Member, Planned, Route, Routing, Sources, Why},
        silence::Silence,
    },
    model::{SeriesKey, Timestamp},
    state::{
        AlertMessage, Delivery, Event, GroupMessage, Reason, Recipient, acknowledged, as_json,
        outbox, read_alerts, silences,
        steady::{self, Steady, stored},
    },
};

/// Groups that one transaction looks at.
const AT_ONCE: usize = 200;
/// What is shown of a time of the wall clock is not moved by less.
const SHOWN_WITHIN_MS: i64 = 1_000;

/// What a look goes by.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) routing: &'a Routing,
    pub(super) recipients: &'a [Recipient],
    pub(super) steady: &'a Steady,
    pub(super) now: Duration,
    pub(super) wall: Timestamp,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Messages by webhook.
    pub(super) added: BTreeMap<String, u64>,
    /// Deliveries that these cost.
    pub(super) given_up: u64,
    /// Alerts that were over before anybody was told.
    pub(super) untold: u64,
    /// What people see of alerts changed.
    pub(super) shown_otherwise: bool,
    /// Others are due.
    pub(super) more: bool,
}

/// A group as it stands in the file.
#[derive(Debug)]
struct Row {
    number: i64,
    route: SmolStr,
    key: String,
    labels: String,
    gate: Duration,
    waits: bool,
}

/// A member as it stands in the file, with its alert.
#[derive(Debug)]
struct InGroup {
    number: i64,
    alert: Alert,
    inhibited_by: String,
    escalates_ms: Option<i64>,
}

impl Around<'_> {
    /// Whether a webhook hears of ends; none: there is no such webhook.
    pub(super) fn hears_end(&self, webhook: &str) -> Option<bool> {
        let recipient = self.recipients.iter().find(|r| r.name == webhook);
        recipient.map(|recipient| recipient.send_resolved)
    }

    fn hears_acknowledgements(&self, webhook: &str) -> bool {
        let mut recipients = self.recipients.iter();
        recipients.any(|r| r.name == webhook && r.hears_acknowledgements)
    }

    /// What stands for routes that are no longer there. It has no name that a config can give.
    pub(super) fn bygone(&self) -> Route {
        let all = self.recipients.iter().map(|r| r.name.clone()).collect();
        Route::bygone(SmolStr::default(), all)
    }

    fn route(&self, name: &str) -> Route {
        let found = self.routing.named(name).cloned();
        found.unwrap_or_else(|| self.bygone())
    }
}

/// Looks at the groups that are due.
pub(super) fn look_at_due(
    transaction: &Transaction<'_>,
    around: &Around<'_>,
) -> rusqlite::Result<Done> {
    let mut done = Done::default();
    let due: Vec<Row> = transaction
        .prepare_cached(
            "SELECT number, route, key, labels, gate, waits FROM groups WHERE due <= ?1 ORDER BY due LIMIT ?2",
        )?
        .query_map(
            params![stored(around.now), i64::try_from(AT_ONCE).unwrap_or(i64::MAX)],
            |row| {
                Ok(Row {
                    number: row.get(0)?,
                    route: SmolStr::from(row.get::<_, String>(1)?),
                    key: row.get(2)?,
                    labels: row.get(3)?,
                    gate: steady::read(row.get(4)?),
                    waits: row.get(5)?,
                })
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    if due.is_empty() {
        return Ok(done);
    }
    done.more = due.len() == AT_ONCE;
    let silences = silences::active(transaction)?;
    let inhibits = &around.routing.inhibits;
    let firing = if inhibits.is_empty() {
        Vec::new()
    } else {
        read_alerts(transaction, "state = 'firing'", usize::MAX)?
    };
    let sources = Sources::new(inhibits, firing.iter());
    for group in due {
        look_at(transaction, around, group, &silences, &sources, &mut done)?;
    }
    around.steady.note(transaction)?;
    Ok(done)
}

fn look_at(
    transaction: &Transaction<'_>,
    around: &Around<'_>,
    mut group: Row,
    silences: &[Silence],
    sources: &Sources<'_>,
    done: &mut Done,
) -> rusqlite::Result<()> {
    let route = around.route(&group.route);
    let (rows, before) = members(transaction, group.number, silences)?;
    if rows.is_empty() && around.now >= group.gate {
        transaction
            .prepare_cached("DELETE FROM groups WHERE number = ?1")?
            .execute(params![group.number])?;
        return Ok(());
    }
    let mut after = before.clone();
    let mut inhibited_by: Vec<Vec<SmolStr>> = Vec::with_capacity(rows.len());
    for (row, member) in rows.iter().zip(&mut after) {
        let by = if member.is_over {
            Vec::new()
        } else {
            sources.of(row.alert.facts())
        };
        member.inhibited = !by.is_empty();
        inhibited_by.push(by);
    }
    let look = route::look(
        &route,
        |webhook| around.hears_end(webhook),
        &mut after,
        &mut group.gate,
        around.now,
    );
    let mut reminders: HashMap<&str, bool> = HashMap::new();
    let mut pagers: BTreeSet<SmolStr> = BTreeSet::new();
    for planned in &look.messages {
        if planned.why == Why::Repeat {
            // Who is away finds one reminder, not one for each time.
            let waits = match reminders.get(planned.webhook.as_str()) {
                Some(waits) => *waits,
                None => outbox::reminder_waits(transaction, &planned.webhook, &group.key)?,
            };
            reminders.insert(&planned.webhook, waits);
            if waits {
                continue;
            }
        }
        let Some(delivery) = delivery(&group, planned, &rows, around)? else {
            continue;
        };
        if outbox::add(transaction, &delivery, false, true)? {
            *done.added.entry(delivery.webhook).or_default() += 1;
        }
        if planned.firing > 0 && around.hears_acknowledgements(&planned.webhook) {
            pagers.insert(planned.webhook.clone());
        }
    }
    done.untold += look.untold;
    let gone: HashSet<usize> = look.gone.iter().copied().collect();
    for (at, row) in rows.iter().enumerate() {
        let shown = InGroup {
            number: row.number,
            alert: row.alert.clone(),
            inhibited_by: inhibited_by[at].join(" "),
            escalates_ms: shown_time(
                row.escalates_ms,
                after[at]
                    .escalates(&route)
                    .and_then(|at| around.steady.wall(at)),
            ),
        };
        done.shown_otherwise |=
            (&row.inhibited_by, row.escalates_ms) != (&shown.inhibited_by, shown.escalates_ms);
        if gone.contains(&at) {
            transaction
                .prepare_cached("DELETE FROM members WHERE number = ?1")?
                .execute(params![row.number])?;
        } else {
            write(transaction, row, &before[at], &shown, &after[at])?;
        }
    }
    // What is told only now may be acknowledged already.
    for webhook in pagers {
        if acknowledged::tell_of_group(transaction, group.number, &webhook, around.wall)? {
            *done.added.entry(webhook.to_string()).or_default() += 1;
        }
    }
    transaction
        .prepare_cached(
            "UPDATE groups SET gate = ?2, waits = ?3, due = ?4, held = ?5 WHERE number = ?1",
        )?
        .execute(params![
            group.number,
            stored(group.gate),
            group.waits && !look.opened,
            look.due.map_or(i64::MAX, stored),
            look.held
        ])?;
    Ok(())
}

fn members(
    connection: &Connection,
    group: i64,
    silences: &[Silence],
) -> rusqlite::Result<(Vec<InGroup>, Vec<Member>)> {
    let mut statement = connection.prepare_cached(
        "SELECT m.number, a.body, m.told, m.since, m.said, m.steps, m.inhibited_by, m.escalates_ms, k.alert IS NOT NULL, m.alert
         FROM members m LEFT JOIN alerts a ON a.id = m.alert LEFT JOIN acknowledgements k ON k.alert = m.alert
         WHERE m.in_group = ?1 ORDER BY m.number",
    )?;
    let mut found = statement.query(params![group])?;
    let (mut rows, mut members) = (Vec::new(), Vec::new());
    let mut unreadable = Vec::new();
    while let Some(row) = found.next()? {
        let number = row.get(0)?;
        let body: Option<String> = row.get(1)?;
        let alert: Option<Alert> = body.and_then(|body| serde_json::from_str(&body).ok());
        let Some(alert) = alert else {
            let id: String = row.get(9)?;
            tracing::error!(alert = %id, "an alert of a group cannot be read: nobody will hear of it");
            unreadable.push(number);
            continue;
        };
        let told: String = row.get(2)?;
        let time = |at: Option<i64>| at.map(steady::read);
        members.push(Member {
            is_over: alert.state != AlertState::Firing,
            silenced: silences.iter().any(|s| s.holds(alert.facts())),
            inhibited: false,
            acknowledged: row.get(8)?,
            named: alert.webhooks.clone(),
            told: told.split_whitespace().map(SmolStr::from).collect(),
            since: time(row.get(3)?),
            said: time(row.get(4)?),
            steps: usize::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        });
        rows.push(InGroup {
            number,
            alert,
            inhibited_by: row.get(6)?,
            escalates_ms: row.get(7)?,
        });
    }
    for number in unreadable {
        connection
            .prepare_cached("DELETE FROM members WHERE number = ?1")?
            .execute(params![number])?;
    }
    Ok((rows, members))
}

/// Writes what changed of a member, if anything did.
fn write(
    transaction: &Transaction<'_>,
    row: &InGroup,
    before: &Member,
    shown: &InGroup,
    after: &Member,
) -> rusqlite::Result<()> {
    let noted = |member: &Member| (member.told.clone(), member.since, member.said, member.steps);
    let same_to_see =
        (&row.inhibited_by, row.escalates_ms) == (&shown.inhibited_by, shown.escalates_ms);
    if noted(before) == noted(after) && same_to_see {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "UPDATE members SET told = ?2, since = ?3, said = ?4, steps = ?5, inhibited_by = ?6, escalates_ms = ?7 WHERE number = ?1",
        )?
        .execute(params![
            row.number,
            after.told.join(" "),
            after.since.map(stored),
            after.said.map(stored),
            i64::try_from(after.steps).unwrap_or(i64::MAX),
            shown.inhibited_by,
            shown.escalates_ms
        ])?;
    Ok(())
}

/// A time by the wall clock as it is shown: it does not tremble with each look.
fn shown_time(before: Option<i64>, now: Option<Timestamp>) -> Option<i64> {
    let now = now?.as_millis();
    let before = before.filter(|before| before.abs_diff(now) < SHOWN_WITHIN_MS.unsigned_abs());
    Some(before.unwrap_or(now))
}

fn delivery(
    group: &Row,
    planned: &Planned,
    rows: &[InGroup],
    around: &Around<'_>,
) -> rusqlite::Result<Option<Delivery>> {
    let of: Vec<&Alert> = planned.alerts.iter().map(|at| &rows[*at].alert).collect();
    let (reason, name, moment) = match planned.why {
        // Told once, so that it needs no moment to be another than any other.
        Why::Change => (Reason::Change, "change", 0),
        Why::Repeat => (Reason::Repeat, "repeat", stored(around.now)),
        Why::Escalation => (Reason::Escalation, "escalation", stored(around.now)),
    };
    let is_over = |alert: &Alert| alert.state != AlertState::Firing;
    let alerts = of.iter().map(|alert| (alert.id.as_str(), is_over(alert)));
    let id = route::message_id(&group.key, name, moment, alerts);
    let id = format!("{id}.{}", planned.webhook);
    let alerts: Vec<AlertMessage> = of.iter().filter_map(|alert| about(alert)).collect();
    if alerts.is_empty() {
        return Ok(None);
    }
    let message = GroupMessage {
        id: id.clone(),
        event: if planned.firing > 0 {
            Event::Firing
        } else {
            Event::Resolved
        },
        reason,
        time: around.wall.to_rfc3339(),
        route: group.route.to_string(),
        group_key: group.key.clone(),
        group_labels: serde_json::from_str(&group.labels).unwrap_or_default(),
        alerts,
        more: planned.more,
        firing: planned.firing,
        acknowledged: None,
    };
    Ok(Some(Delivery {
        id,
        webhook: planned.webhook.to_string(),
        body: as_json(&message)?,
        created: around.wall,
        tries: 0,
    }))
}

fn about(alert: &Alert) -> Option<AlertMessage> {
    let series = SeriesKey::parse(&alert.series);
    if series.is_none() {
        tracing::error!(alert = %alert.id, series = %alert.series, "an alert has no series that can be read: it is not told");
    }
    let is_over = alert.state != AlertState::Firing;
    let (event, at) = if is_over {
        (Event::Resolved, alert.resolved_ms)
    } else {
        (Event::Firing, alert.fired_ms)
    };
    let at = Timestamp::from_millis(at.unwrap_or(alert.began_ms));
    Some(AlertMessage::about(alert, &series?, event, at, None))
}
