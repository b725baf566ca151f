"""The pages *Change*: models, history, policies, rules, dead letters."""
