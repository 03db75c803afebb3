//! Tables that will soon be full: said while there is time to do something.

use crate::snapshot::TableView;

/// A problem for each table that is nearly full, with what to do.
pub(super) fn problems(tables: &[TableView]) -> impl Iterator<Item = String> {
    let nearly_full = tables.iter().filter(|table| table.is_nearly_full());
    nearly_full.map(|table| {
        let TableView {
            name,
            used,
            capacity,
        } = table;
        let percent = used * 100 / capacity;
        let (what, cure) = meaning(name);
        format!("table {name} is {percent}% full ({used} of {capacity}): {what}; {cure}")
    })
}

/// What happens when a table is full, and what to do before.
fn meaning(table: &str) -> (&'static str, &'static str) {
    const VIPS: (&str, &str) = (
        "VIPs that find no room are not applied",
        "remove VIPs that are not needed",
    );
    match table {
        "slots" => (
            "VIPs that find no room are not applied",
            "raise limits.slots (in force after `navigator detach` and a start), or give VIPs fewer slots",
        ),
        "backends" => (
            "backends that find no room are not applied",
            "raise limits.backends (in force after `navigator detach` and a start), or serve fewer instances",
        ),
        "flows" => (
            "flows in at-risk slots that find no room are not remembered, those that are stay",
            "raise limits.flow_sets (in force after `navigator detach` and a start)",
        ),
        "vips" | "vip_addresses" | "ports" => VIPS,
        "egress" => (
            "backends behind further interfaces cannot be reached",
            "lead them through fewer interfaces",
        ),
        _ => (
            "what finds no room is refused and counted",
            "see the handbook, \"Tables and how full they are\"",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_of_before_it_is_full() {
        let table = |name: &str, used, capacity| TableView {
            name: name.to_owned(),
            used,
            capacity,
        };
        let tables = [
            table("slots", 79, 100),
            table("backends", 80, 100),
            table("flows", 95, 100),
            table("something", 9, 10),
            table("nothing", 0, 0),
        ];
        let said: Vec<_> = problems(&tables).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("table backends is 80% full (80 of 100): "));
        assert!(said[0].contains("limits.backends"));
        assert!(said[1].contains("limits.flow_sets"));
    }
}
