#!/usr/bin/env python3
"""Prints access tokens for Amazon MSK as the package aws-msk-iam-sasl-signer-python makes them at a fixed clock.

Usage: msk_tokens.py < cases.json > vectors.json      (pip install aws-msk-iam-sasl-signer-python)

A case has region, access_key, secret_key, session_token (or null) and time (seconds since 1970). Its vector has the
token and the User-Agent beside them. The keys are the examples of AWS's documentation and open nothing.
"""

import datetime
import importlib.metadata
import json
import sys

import botocore.auth
import botocore.credentials
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider


class FixedCredentials(botocore.credentials.CredentialProvider):
    """Credentials that are given, and not looked for."""

    def __init__(self, case):
        super().__init__()
        self.case = case

    def load(self):
        return botocore.credentials.Credentials(
            self.case["access_key"], self.case["secret_key"], self.case["session_token"]
        )


def sign(case):
    now = datetime.datetime.fromtimestamp(case["time"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now.replace(tzinfo=None) if remove_tzinfo else now
    token, ends_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(
        case["region"], FixedCredentials(case)
    )
    name = MSKAuthTokenProvider.LIB_NAME
    return {**case, "user_agent": f"{name}/{importlib.metadata.version(name)}", "token": token, "ends_ms": ends_ms}


print(json.dumps([sign(case) for case in json.load(sys.stdin)], indent=1))
