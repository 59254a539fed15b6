"""Releases of Clipfleet to Google Cloud, behind deploy/deploy.sh. Python's standard library only.

| room | job |
|---|---|
| `__main__` | verbs and options |
| `settings` | project, region and files, from the variables files and the environment |
| `api` | Google's JSON APIs over HTTP: tokens, retries, errors by kind |
| `cloud_run` | reads and changes pools and services: masks, etags, operations |
| `resources` | what a pool or a service says: running revision, shares, image, record |
| `record` | the state of a release, an annotation of the pool or service that it is about |
| `rollout` | release, promote, roll back: what changes in which order |
| `outcomes` | how clips ended on a revision, from the log |
| `verdict` | whether a canary is promoted or rolled back: a function without effects |
| `watch` | polls outcomes until there is a verdict, or a person decides |
| `images` | builds and pushes what the registry does not have yet |
| `terraform` | plan, approval, and apply of the approved changes |
| `bootstrap` | a project's first steps: APIs, the bucket of Terraform's state, the first apply |
| `status` | what runs where |
"""
