//! Other routes: alerts go to the groups that they belong to now, with what was told of them, so that nothing is told twice because of
//! the change and no end is left out.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{OptionalExtension, Transaction, params};
use smol_str::SmolStr;

use super::{MAX_MEMBERS, looking::Around, open};
use crate::{
    alert::{self, Alert, AlertState},
    state::{names_of, read_alerts, state_name, steady::stored},
};

/// A member where it is now.
#[derive(Debug)]
struct Place {
    number: i64,
    route: String,
    key: String,
    told: Vec<SmolStr>,
    since: Option<i64>,
    said: Option<i64>,
}

/// Sorts all alerts that fire or have something left to say into the groups of the routes in force. Those of a group that no route has now
/// are put together until they are over.
pub(super) fn regroup(transaction: &Transaction<'_>, around: &Around<'_>) -> rusqlite::Result<()> {
    let mut places = places(transaction)?;
    if around.routing.routes.is_empty() && places.is_empty() {
        return Ok(());
    }
    let mut members: i64 = places
        .values()
        .map(|p| i64::try_from(p.len()).unwrap_or(0))
        .sum();
    let alerts = read_alerts(
        transaction,
        "state = 'firing' OR id IN (SELECT alert FROM members)",
        usize::MAX,
    )?;
    for alert in alerts.iter().filter(|alert| !alert::is_own(alert)) {
        let have = places.remove(alert.id.as_str());
        let fits = members < MAX_MEMBERS;
        members += sort_in(transaction, around, alert, have, fits)?;
    }
    // All waits may be others now.
    transaction.execute("UPDATE groups SET due = 0", [])?;
    around.steady.note(transaction)
}

fn places(transaction: &Transaction<'_>) -> rusqlite::Result<BTreeMap<String, Vec<Place>>> {
    let mut statement = transaction.prepare(
        "SELECT m.alert, m.number, g.route, g.key, m.told, m.since, m.said
         FROM members m JOIN groups g ON g.number = m.in_group ORDER BY m.number",
    )?;
    let mut rows = statement.query([])?;
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let told: String = row.get(4)?;
        places.entry(row.get(0)?).or_default().push(Place {
            number: row.get(1)?,
            route: row.get(2)?,
            key: row.get(3)?,
            told: told.split_whitespace().map(SmolStr::from).collect(),
            since: row.get(5)?,
            said: row.get(6)?,
        });
    }
    Ok(places)
}

/// Gives by how many members there are more.
fn sort_in(
    transaction: &Transaction<'_>,
    around: &Around<'_>,
    alert: &Alert,
    have: Option<Vec<Place>>,
    fits: bool,
) -> rusqlite::Result<i64> {
    let mut routes = around.routing.of(alert);
    let was_grouped = have.is_some();
    let have = have.unwrap_or_default();
    if !was_grouped && (routes.is_empty() || !fits || alert.state != AlertState::Firing) {
        // It is told by itself, as before.
        return Ok(0);
    }
    let bygone = around.bygone();
    if routes.is_empty() {
        routes.push(&bygone);
    }
    let wanted: Vec<_> = routes
        .into_iter()
        .map(|route| (route, route.group(alert.facts())))
        .collect();
    let (mut stay, leave): (Vec<Place>, Vec<Place>) = have.into_iter().partition(|place| {
        wanted
            .iter()
            .any(|(route, group)| route.name == place.route && group.key == place.key)
    });
    let mut told: Vec<SmolStr> = if was_grouped {
        leave.iter().flat_map(|place| place.told.clone()).collect()
    } else {
        told_by_itself(transaction, around, alert)?
    };
    // What was told by who tells it now stays where it is.
    let tells = |place: &Place, webhook: &SmolStr| {
        let mut route = wanted.iter().filter(|(route, _)| route.name == place.route);
        route.any(|(route, _)| route.webhooks.contains(webhook))
    };
    let mut seen = HashSet::new();
    for place in &mut stay {
        let (kept, loose) = std::mem::take(&mut place.told)
            .into_iter()
            .partition::<Vec<_>, _>(|webhook| tells(place, webhook));
        seen.extend(kept.iter().cloned());
        place.told = kept;
        told.extend(loose);
    }
    told.retain(|webhook| seen.insert(webhook.clone()));
    let now = stored(around.now);
    let (since, said) = if was_grouped {
        let places = || stay.iter().chain(&leave);
        let since = places().filter_map(|place| place.since).min();
        (since, places().filter_map(|place| place.said).max())
    } else if told.is_empty() {
        (None, None)
    } else {
        (Some(now), Some(now))
    };
    let mut more = 0;
    for place in &leave {
        transaction
            .prepare_cached("DELETE FROM members WHERE number = ?1")?
            .execute(params![place.number])?;
        more -= 1;
    }
    // What a webhook was told goes along with the first route that tells it, so that this one does not tell it again.
    let mut along: Vec<Vec<SmolStr>> = vec![Vec::new(); wanted.len()];
    for webhook in told {
        let first = wanted
            .iter()
            .position(|(route, _)| route.webhooks.contains(&webhook));
        along[first.unwrap_or_default()].push(webhook);
    }
    for ((route, group), told) in wanted.iter().zip(along) {
        let stays = |place: &&Place| route.name == place.route && group.key == place.key;
        if let Some(place) = stay.iter().find(stays) {
            let told: Vec<SmolStr> = place.told.iter().cloned().chain(told).collect();
            transaction
                .prepare_cached("UPDATE members SET told = ?2 WHERE number = ?1")?
                .execute(params![place.number, told.join(" ")])?;
            continue;
        }
        let at = around.now.saturating_add(route.group_wait);
        let number = open(transaction, route, group, at)?;
        // Who heard of it by a step need not hear of it again.
        let done = route
            .escalate
            .iter()
            .take_while(|step| step.webhooks.iter().all(|w| told.contains(w)))
            .count();
        transaction
            .prepare_cached(
                "INSERT INTO members (in_group, alert, told, since, said, steps, inhibited_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, '')",
            )?
            .execute(params![
                number,
                alert.id.as_str(),
                told.join(" "),
                since,
                said,
                i64::try_from(done).unwrap_or_default()
            ])?;
        more += 1;
    }
    Ok(more)
}

/// Who heard of an alert that no route had. What a silence holds back of it is withdrawn: its group tells it.
fn told_by_itself(
    transaction: &Transaction<'_>,
    around: &Around<'_>,
    alert: &Alert,
) -> rusqlite::Result<Vec<SmolStr>> {
    let mut told = Vec::new();
    for recipient in around.recipients.iter().filter(|r| names_of(r, alert)) {
        let id = format!(
            "{}.{}.{}",
            alert.id,
            state_name(AlertState::Firing),
            recipient.name
        );
        let held: Option<bool> = transaction
            .prepare_cached("SELECT status = 'held' AND offered = 0 FROM deliveries WHERE id = ?1")?
            .query_row(params![id], |row| row.get(0))
            .optional()?;
        if held == Some(true) {
            transaction
                .prepare_cached(
                    "UPDATE deliveries SET status = 'withdrawn', changed = ?2 WHERE id = ?1",
                )?
                .execute(params![id, around.wall.0])?;
        } else {
            told.push(recipient.name.clone());
        }
    }
    Ok(told)
}
