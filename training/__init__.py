"""Training: the SFT, RLHF and DPO-family methods that make the policies, reward models and aligners Trimtab serves.

It shares files with the rest of the project (JSONL in, Hugging Face checkpoint out) and imports none of it but `artifacts`.
"""
