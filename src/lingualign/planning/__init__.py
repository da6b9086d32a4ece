"""What a run will take on machines that are not here, from arithmetic alone: `lingualign plan`.

`sizes.py`: the shape of a model of which only the size is known. `hardware.py`: what GPUs can do;
`calibrate.py`: what this machine can, measured. `counting.py`: how many prompts there are, and how long;
`work.py`: the tokens of every stage. `operations.py`: what a step of decoding, a forward pass and a training
step cost on a device; `cost.py`: what a stage costs on some of them; `forecast.py`: all stages together;
`advice.py`: what to set and to change.

`lingualign doctor --estimate` tries a run's own work on this machine instead (`lingualign.setup`).
"""
