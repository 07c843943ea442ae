"""A study on a server for programs that make one call and end: each call is an answer or an error, and nothing is kept."""

from __future__ import annotations

from functools import partial

from curvestop.clients.remote.connection import Connection
from curvestop.clients.remote.outbox import PendingFinish
from curvestop.clients.remote.study_requests import Requests, decision_of
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.listing import listed_chances, listed_trials
from curvestop.srm.curve import Decision
from curvestop.srm.report import Report
from curvestop.srm.second_chances import SecondChance, policy_of_chances
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import EndState, TrialState

DEADLINE_S = 30.0
"""Longest time that one call may take; nobody trains meanwhile."""


class StudyCalls:
    """The calls about one study that there is already. `RemoteStudy` is for trainings, which a server must not end or hold up.

    Args:
        connection: Connection to the server.
        name: Name of the study.

    Attributes:
        settings: The study's settings.

    Raises:
        UnknownStudy: If the server has no study of that name.
        ServerTrouble: If the server does not answer, or refuses the client. So does every method.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._call = partial(connection.call, deadline_s=DEADLINE_S)
        self.settings = codec.status_from_proto(self._call("GetStudy", pb.GetStudyRequest(study=name))).settings
        self._requests = Requests(self.settings)

    @classmethod
    def create(cls, connection: Connection, settings: StudySettings) -> StudyCalls:
        """Create a study, or find the one with these settings.

        Args:
            connection: Connection to the server.
            settings: What the study is.

        Raises:
            ValueError: If there is a study of that name with other settings.
        """
        connection.call("CreateStudy", pb.CreateStudyRequest(settings=codec.settings_to_proto(settings)), deadline_s=DEADLINE_S)
        return cls(connection, settings.name)

    def answer(self, report: Report) -> Decision:
        """Store the values of a report and, if it asks, decide; see `StudyLike.answer`.

        Args:
            report: The report.

        Raises:
            ValueError: If it breaks a rule.
        """
        return decision_of([self._call("Report", request) for request in self._requests.prepare(report).requests])

    def n_epochs(self, trial: str) -> int:
        """Return the latest epoch that a trial reported; 0 for one that the server does not know.

        Args:
            trial: Name of the trial.
        """
        for listed in map(codec.trial_from_proto, listed_trials(partial(self._call, "ListTrials"), self.settings.name)):
            if listed.trial == trial:
                return listed.epochs[-1] if listed.epochs else len(listed.values)
        return 0

    def finish(self, trial: str, state: EndState) -> TrialState:
        """End a trial and return the state that it now has; see `StudyLike.finish`.

        Args:
            trial: Name of the trial.
            state: How it ended.

        Raises:
            UnknownTrial: If the trial was never reported.
        """
        return codec.state_from_proto(self._call("FinishTrial", self._requests.finish(PendingFinish(trial, state))).state)

    def second_chances(self, n: int) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with; see `ResumableStudy.second_chances`.

        Args:
            n: Most trials to return, >= 1.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances.
        """
        policy_of_chances(self.settings, n)
        chances = listed_chances(partial(self._call, "SecondChances"), self.settings.name, n)
        return list(map(codec.second_chance_from_proto, chances))
