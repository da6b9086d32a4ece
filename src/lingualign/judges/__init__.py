"""Language models that judge: one interface for pairs of responses, one for grades.

judge = ServerPairwiseJudge(ChatServer("http://localhost:8000/v1", "judge"), cache=Path("judge.jsonl"))
judgements = judge.compare([Pair("Who wrote Faust?", "No idea.", "Goethe.", "en", "1")])
"""

from lingualign.judges.base import Conversation, Grade, GradingJudge, Judgement, Pair, PairwiseJudge
from lingualign.judges.grading import ServerGradingJudge, grading_templates, parse_grade
from lingualign.judges.pairwise import ServerPairwiseJudge
from lingualign.judges.template import Template

__all__ = [
    "Conversation",
    "Grade",
    "GradingJudge",
    "Judgement",
    "Pair",
    "PairwiseJudge",
    "ServerGradingJudge",
    "ServerPairwiseJudge",
    "Template",
    "grading_templates",
    "parse_grade",
]
