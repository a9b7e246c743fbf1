# One line each; the logic lives in scripts/, bench/ and the crates.
.PHONY: serve dashboard test test-fast test-s3 test-spark test-proxy test-dashboard test-openapi test-sql test-cassandra test-kafka test-rolling test-alerts test-otel screenshots check bench sim fuzz cluster cluster-drill

SEEDS ?= 300
RUNS ?= 1000000

serve: ## build and start Tally on http://127.0.0.1:8080
	@scripts/toolchain && scripts/dashboard && cargo run --release --locked -q -p tally -- serve

dashboard: ## the pages at /, built for the program to embed
	@scripts/dashboard

test: dashboard test-fast ## everything that must pass before a change lands
	@scripts/toolchain && cargo test --release --locked -p tally --test real
	@$(MAKE) -s test-dashboard test-openapi test-alerts test-otel test-proxy test-spark
	@$(MAKE) -s test-s3 test-kafka test-cassandra test-rolling test-sql

test-fast: ## the embedded part, in minutes
	@scripts/toolchain && cargo test --locked --workspace

test-s3: ## the archive in a bucket, on a server of S3 that this installs
	@scripts/test-s3

test-spark: ## Spark, which this installs, counts raw events as Tally does
	@scripts/toolchain && cargo test --release --locked -p tally --test real spark -- --ignored

test-dashboard: ## every page in Chromium, which this installs
	@scripts/test-dashboard

test-openapi: ## the API's description against the server, by schemathesis, which this installs
	@scripts/test-openapi

screenshots: ## the pictures in docs/images, made anew
	@scripts/test-dashboard screenshots

test-sql: ## SQL over raw events and counters; its build takes long
	@scripts/test-sql

test-cassandra: ## counters in Cassandra and answers in Redis, on servers that this installs
	@scripts/test-cassandra

test-kafka: ## the log in Kafka, on a broker that this installs
	@scripts/test-kafka

test-rolling: ## two gateways and two processors restarted under load, on engines that this installs
	@scripts/test-rolling

test-proxy: ## behind NGINX and HAProxy, which this installs: stopped ten times under load
	@scripts/toolchain && cargo test --release --locked -p tally --test real balancers:: -- --ignored

test-otel: ## traces, as a collector gets them
	@scripts/toolchain && cargo test --locked -p tally --features otel --test it otel::

test-alerts: ## alerts, by promtool, which this installs; metrics of a running server
	@scripts/test-alerts

check: ## format, lints, licences of dependencies, tests, instructions that each stage takes
	@scripts/toolchain && cargo fmt --all --check && cargo clippy -q --locked --workspace --all-targets -- -D warnings && scripts/deny && cargo test -q --locked --workspace && scripts/instructions

bench: ## ratios and figures into bench/runs/
	@scripts/toolchain && cargo run --release --locked -q -p tally-bench

sim: ## seeded simulation under faults, of one machine and of fleets: make sim SEEDS=5000
	@scripts/toolchain && cargo run --locked -q -p tally-sim -- --seeds $(SEEDS)
	@cargo run --locked -q -p tally-sim -- --fleet --seeds $(SEEDS)
	@cargo run --locked -q -p tally-sim -- --fleet --partitions 6 --processors 3 --seeds $(SEEDS)
	@cargo run --locked -q -p tally-sim -- --fleet --partitions 1000 --processors 5 --seeds $$((($(SEEDS) + 99) / 100))

fuzz: ## every decoder with inputs made by libFuzzer: make fuzz RUNS=10000
	@RUNS=$(RUNS) scripts/fuzz

cluster-drill: ## the same cluster, one fault after the other under load, and a table; half an hour
	@scripts/toolchain cluster && scripts/cluster drill

cluster: ## all roles on Kafka, Cassandra, Redis and S3, on this machine, until Ctrl-C
	@scripts/toolchain cluster && scripts/cluster up
