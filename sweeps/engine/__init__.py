"""The sweep engine: spec, agenda, searcher, scheduler, ledger, runner, tracking, command line."""
