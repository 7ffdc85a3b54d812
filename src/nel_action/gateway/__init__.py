"""Local HTTP proxy between an evaluation harness and the model endpoint: records, replays, measures and limits.

The package runs inside foreign containers and on cluster nodes, so it uses the standard library of Python 3.8 only and
imports nothing else of nel-action. `python -m nel_action.gateway` and the zipapp built from it start the same program.

    harness ──HTTP──▶ server ──▶ proxy ──▶ upstream ──HTTP(S)──▶ model endpoint
                                   │
                                 record (answers, durable before the harness receives them)
"""
