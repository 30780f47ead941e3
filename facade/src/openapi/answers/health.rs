//! Schemas of what the faces of health answer.

use super::{
    Answer,
    Shape::{Flag, List, Named, Number, One, Text, Texts, Whole, Word, Words},
    When::{Always, OrNull, Sometimes},
};

const STATES: &[&str] = &["UP", "DEGRADED", "DOWN", "UNKNOWN"];
const HEALTH: &[&str] = &["healthy", "degraded", "unhealthy"];
const READY: &[&str] = &["healthy", "unhealthy", "starting", "draining"];
const DB: &[&str] = &["connected", "disconnected", "Not connected"];
const KINDS: &[&str] = &["process", "part", "store", "service", "deployment", "model"];

const LATENCY: &str = "How long the last check took, in milliseconds.";
const CHECKED: &str = "When the state was last confirmed.";
const WRONG: &str = "What is wrong, in Penstock's words.";

// One line for each member, as the table that it is.
#[rustfmt::skip]
pub(super) const ANSWERS: &[Answer] = &[
    Answer("Alive", "", "That the process runs.", &[("status", Word("alive"), Always, "How it is.")]),
    Answer("Readiness", "", "Whether to send requests here.", &[
        ("status", Words(READY), Always, "healthy: send them."),
        ("state", Words(STATES), Always, "The same in three states: DOWN is not ready."),
        ("db", Words(DB), Always, "The store of keys, in LiteLLM's words."),
        ("db_initialized", Flag, Always, "Whether it has ever worked."),
        ("router_initialized", Flag, Always, "Whether the registry of models has ever worked."),
        ("version", Text, Always, "The release."),
        ("checks", Named("Component"), Always, "What readiness looks at, by name."),
    ]),
    Answer("Health", "", "How it is, as LiteLLM says it, and how each component is.", &[
        ("status", Words(HEALTH), Always, "unhealthy: send no requests."),
        ("state", Words(STATES), Always, "The same in three states."),
        ("db", Words(DB), Always, "The store of keys, in LiteLLM's words."),
        ("redis", Text, OrNull, "null: there is none."),
        ("version", Text, Always, "The release."),
        ("healthy_endpoints", List("HealthEndpoint"), Always, "Models on deployments that are UP or DEGRADED."),
        ("unhealthy_endpoints", List("HealthEndpoint"), Always, "All others."),
        ("healthy_count", Whole, Always, "How many they are."),
        ("unhealthy_count", Whole, Always, "How many they are."),
        ("components", Named("Component"), Always, "Services, stores and parts, by name."),
    ]),
    Answer("HealthEndpoint", "", "A model on a deployment.", &[
        ("model", Text, Sometimes, "The model. Absent: not for this caller."),
        ("model_id", Text, Sometimes, "The deployment. Absent: the model has none, or not for this caller."),
        ("state", Words(STATES), Always, "How the deployment is."),
        ("latency_ms", Number, Sometimes, LATENCY),
        ("last_check", Text, Sometimes, CHECKED),
        ("error", Text, Sometimes, WRONG),
    ]),
    Answer("HealthStatus", "", "The three states of everything.", &[
        ("status", Words(STATES), Always, "The worst required component; an optional one can only degrade."),
        ("components", Named("Component"), Always, "Each of them, by name."),
    ]),
    Answer("Component", "", "How a component is.", &[
        ("status", Words(STATES), Always, "How it is."),
        ("required", Flag, Always, "Whether the process is DOWN without it."),
        ("latency_ms", Number, Sometimes, LATENCY),
        ("last_check", Text, Sometimes, CHECKED),
        ("since", Text, Sometimes, "Since when it has had its state."),
        ("detail", Text, Sometimes, WRONG),
    ]),
    Answer("ModelHealthList", "", "How models are.", &[
        ("status", Words(STATES), Always, "UP: all are. DOWN: none works."),
        ("models", List("ModelHealth"), Always, "By name."),
        ("counts", One("ModelCounts"), Always, "How many are in which state."),
    ]),
    Answer("ModelHealth", "", "How a model is.", &[
        ("name", Text, Sometimes, "The model. Absent: not for this caller."),
        ("status", Words(STATES), Always, "DEGRADED: not all of its deployments work, or only a fallback does."),
        ("latency_ms", Number, OrNull, LATENCY),
        ("last_check", Text, OrNull, CHECKED),
        ("error", Text, OrNull, WRONG),
        ("deployments", List("DeploymentHealth"), Always, "What it stands on."),
        ("fallbacks", Texts, Always, "Models that stand in for it."),
    ]),
    Answer("DeploymentHealth", "", "How a deployment is.", &[
        ("id", Text, Always, "Its id."),
        ("status", Words(STATES), Always, "How it is."),
        ("latency_ms", Number, OrNull, LATENCY),
        ("last_check", Text, OrNull, CHECKED),
        ("error", Text, OrNull, WRONG),
    ]),
    Answer("ModelCounts", "", "How many models are in which state.", &[
        ("up", Whole, Always, "All deployments work."),
        ("degraded", Whole, Always, "Some, or a fallback."),
        ("down", Whole, Always, "None."),
        ("unknown", Whole, Always, "Nobody can say."),
    ]),
    Answer("ServiceHealthList", "", "What the process stands on.", &[
        ("services", List("ServiceHealth"), Always, "Services and stores, by name."),
    ]),
    Answer("ServiceHealth", "", "How a service or a store is.", &[
        ("name", Text, Always, "Its name."),
        ("kind", Words(KINDS), Always, "service or store."),
        ("status", Words(STATES), Always, "How it is."),
        ("required", Flag, Always, "Whether the process is DOWN without it."),
        ("latency_ms", Number, OrNull, LATENCY),
        ("last_check", Text, OrNull, CHECKED),
        ("error", Text, OrNull, WRONG),
    ]),
    Answer("OneServiceHealth", "", "How one of them is, in LiteLLM's words.", &[
        ("service", Text, Always, "Its name."),
        ("status", Words(HEALTH), Always, "How it is."),
        ("message", Text, Always, "The same for people."),
        ("state", Words(STATES), Always, "The same in three states."),
        ("latency_ms", Number, OrNull, LATENCY),
        ("last_check", Text, OrNull, CHECKED),
    ]),
    Answer("HealthHistory", "", "Changes of state.", &[
        ("changes", List("HealthChange"), Always, "The newest first."),
        ("total_records", Whole, Always, "How many there are on all pages."),
        ("limit", Whole, Always, "Most of this page."),
        ("offset", Whole, Always, "How many were skipped."),
    ]),
    Answer("HealthChange", "", "A component changed its state.", &[
        ("at", Text, OrNull, "When."),
        ("name", Text, Always, "The component. Empty: the process as a whole."),
        ("kind", Words(KINDS), Always, "What it is."),
        ("from", Words(STATES), Always, "How it was. UNKNOWN: nothing was known."),
        ("to", Words(STATES), Always, "How it is since then."),
        ("detail", Text, OrNull, WRONG),
    ]),
];
